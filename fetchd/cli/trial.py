"""`fetchd test-delivery`: one message to a destination, told step by step."""

import asyncio
from typing import Any

from fetchd.cli import output
from fetchd.pipeline.trial import Trial, try_destination
from fetchd.settings import Settings


def send_one(settings: Settings, name: str, *, json: bool) -> bool:
    """Send it and say how far it came; whether it was taken."""
    trial = asyncio.run(try_destination(settings, name))
    if json:
        output.emit(_document(trial))
    else:
        _tell(trial)
    return trial.ok


def _document(trial: Trial) -> dict[str, Any]:
    return {
        "ok": trial.ok,
        "destination": trial.destination,
        "subject": trial.subject,
        "message_id": trial.message_id,
        "from": trial.sender,
        "to": list(trial.recipients),
        "steps": [{"step": step, "found": found} for step, found in trial.steps],
        "reply": trial.reply,
        "failure": trial.failure,
        "advice": trial.advice,
    }


def _tell(trial: Trial) -> None:
    for step, found in trial.steps:
        output.say(f"  ok      {step}: {found}" if found else f"  ok      {step}")
    if trial.failure is None:
        output.say(f"  ok      delivered: {trial.reply}" if trial.reply else "  ok      delivered")
        output.say(f"Look for the subject: {trial.subject}")
        return
    output.say(f"  error   {trial.failure}")
    if trial.advice:
        output.say(f"          {trial.advice}")

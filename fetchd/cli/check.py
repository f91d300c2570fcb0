"""`fetchd check`: everything a sync would need, looked at and told."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.words import counted
from fetchd.pipeline.check import check as look
from fetchd.pipeline.findings import Finding, Level
from fetchd.settings import Settings
from fetchd.values import asdict


def check(settings: Settings, names: Sequence[str], *, json: bool) -> bool:
    """Print the findings; whether none of them is an error."""
    require(settings, None, names)
    findings = asyncio.run(look(settings, names))
    well = not any(finding.level is Level.ERROR for finding in findings)
    if json:
        output.emit({"ok": well, "findings": [asdict(finding) for finding in findings]})
    else:
        _tell(findings)
    return well


def _tell(findings: Sequence[Finding]) -> None:
    subject = ""
    for finding in findings:
        if finding.subject != subject:
            subject = finding.subject
            output.say(subject)
        output.say(f"  {finding.level:8}{finding.sentence}")
        if finding.advice and finding.level is not Level.OK:
            output.say(f"          {finding.advice}")
    counts = Counter(finding.level for finding in findings)
    wrong = [counted(counts[level], level) for level in (Level.ERROR, Level.WARNING)]
    output.say(", ".join(wrong) if len(counts) > 1 else "All well.")

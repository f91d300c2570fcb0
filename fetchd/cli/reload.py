"""`fetchd reload` and `fetchd resume`: a word to the service that runs for the data folder."""

from collections.abc import Sequence

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.asking import reach
from fetchd.cli.words import counted
from fetchd.daemon.messages import Refused, Reload, Resume
from fetchd.settings import Settings


def reload(settings: Settings, *, json: bool) -> bool:
    """Let it read the settings again; False, with the reasons, where it refuses them."""
    with reach(settings.data_dir) as asking:
        asking.ask(Reload())
        answer = asking.answer()
        service = asking.holder
    problems = answer.problems if isinstance(answer, Refused) else ()
    if json:
        output.emit({"applied": not problems, "problems": problems, "pid": service.pid})
    elif problems:
        output.complain("The settings are refused; the service goes on with the old ones:")
        for problem in problems:
            for one in problem.split("\n"):
                output.complain(f"  {one}")
    else:
        output.say(f"The settings are applied ({service}).")
    return not problems


def resume(settings: Settings, names: Sequence[str], *, json: bool) -> bool:
    """Let it try these accounts again, or all that it has given up."""
    require(settings, None, names)
    with reach(settings.data_dir) as asking:
        asking.ask(Resume(tuple(names)))
        asking.answer()
    if json:
        output.emit({"resumed": list(names)})
    else:
        which = counted(len(names), "account") if names else "Every account that was halted"
        are = "are" if len(names) > 1 else "is"
        output.say(f"{which} {are} tried again; 'fetchd top' shows how they fare.")
    return True

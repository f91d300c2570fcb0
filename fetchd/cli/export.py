"""`fetchd export`: stored messages copied out."""

from pathlib import Path

from fetchd.cli import output
from fetchd.cli.messages import Filter
from fetchd.cli.watching import watch_octets
from fetchd.cli.words import counted, octets
from fetchd.pipeline.export import ExportReport, Form
from fetchd.pipeline.export import export as copy
from fetchd.pipeline.storage import open_storage
from fetchd.settings import Settings


def export(settings: Settings, asked: Filter, form: Form, path: Path, *, json: bool) -> bool:
    """Copy what fits to `path`; whether all that the archive has is there now."""
    target = path.expanduser().absolute()
    with open_storage(settings, read_only=True) as storage:
        rows = asked.find(settings, storage.catalog)
        with watch_octets("exporting") as bar:
            report = copy(storage, rows, form, target, account=asked.account, progress=bar.at)
    if json:
        output.emit(_document(report, form, target))
    else:
        _tell(report, target)
    return report.ok


def _document(report: ExportReport, form: Form, path: Path) -> dict[str, object]:
    return {
        "ok": report.ok,
        "format": form,
        "path": str(path),
        "written": report.written,
        "octets": report.octets,
        "present": report.present,
        "gone": report.gone,
        "damaged": [
            {
                "id": one.id,
                "digest": one.digest.hex(),
                "subject": one.subject,
                "reason": one.reason,
            }
            for one in report.damaged
        ],
        "conflicts": [str(path) for path in report.conflicts],
    }


def _tell(report: ExportReport, path: Path) -> None:
    output.say(f"{counted(report.written, 'message')} ({octets(report.octets)}) written to {path}")
    if report.present:
        output.say(f"{counted(report.present, 'message')} there already")
    if report.gone:
        output.say(f"{counted(report.gone, 'message')} left out: archive.keep let the octets go")
    for one in report.damaged:
        output.say(f"damaged: message {one.id}, {one.subject}: {one.reason}")
    if report.damaged:
        output.say("  'fetchd verify' marks what is damaged; the next sync fetches it again.")
    for conflict in report.conflicts:
        output.say(f"in the way, of another content, and left alone: {conflict}")

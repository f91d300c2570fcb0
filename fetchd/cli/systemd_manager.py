"""The machine's systemd: files put in its place, and what it is asked to do with them."""

import os
import shutil
import subprocess
from pathlib import Path

from fetchd.errors import ServiceManagerFailed

PATIENCE = 660.0  # seconds: longer than the start of a service may take (TimeoutStartSec)


def is_running(*, personal: bool) -> bool:
    """sd_booted(3), and of a user's own manager its socket."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").is_dir():
        return False
    if personal:
        folder = os.environ.get("XDG_RUNTIME_DIR", "")
        return bool(folder) and Path(folder, "systemd", "private").exists()
    return True


def systemctl(*words: str, personal: bool) -> None:
    """Ask for this, and wait for its end."""
    own = ["--user"] if personal else []
    advice = f"'journalctl {' '.join([*own, '-xe'])}' says why; what is written so far stays."
    _run(["systemctl", *own, *words], advice)


def make_user(file: Path) -> None:
    """systemd-sysusers works without a systemd that runs, too."""
    if shutil.which("systemd-sysusers") is None:
        return  # who installs says what to run
    _run(["systemd-sysusers", str(file)], "Look at that file.")


def put(path: Path, text: str | None) -> None:
    """Whole or not at all, readable by all as units are; None takes it away."""
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(text)
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        raise ServiceManagerFailed(
            f"{path} cannot be written: {error.strerror}",
            advice="Give the right to write there, or use --dry-run and copy what it shows.",
        ) from None


def _run(argv: list[str], advice: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603  # words of ours
            argv, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        sentence = f"'{' '.join(argv)}' did not end within {PATIENCE:g} s"
        raise ServiceManagerFailed(sentence, advice=advice) from None
    if done.returncode:
        said = (_complaints(done.stderr) or ["no reason given"])[0]
        raise ServiceManagerFailed(f"'{' '.join(argv)}' failed: {said}", advice=advice)


def _complaints(text: str) -> list[str]:
    """Without what it tells of its successes."""
    return [line for line in text.splitlines() if line and not line.startswith("Created symlink")]

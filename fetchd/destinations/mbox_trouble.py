"""What an OSError says about an mbox file, and what its owner can do about it."""

import errno
import os
from pathlib import Path

from fetchd.destinations import maildir_trouble
from fetchd.destinations.maildir_trouble import AGAIN

_BESIDE = (".lock", ".fetchd", ".fetchd.new")  # what lies beside the mbox, for its sake


def sentences(path: Path, error: OSError) -> str:
    """All that a person wants to know."""
    return " ".join((*trouble(path, error), AGAIN))


def locked(path: Path, holder: str) -> str:
    """That somebody did not let go of it in time."""
    return f"{path} is in use: {holder}. End that program if it hangs. {AGAIN}"


def trouble(path: Path, error: OSError) -> tuple[str, str]:
    """What is wrong there, and the remedy. Our own findings name the file (`filename`)."""
    named = error.filename
    file = Path(named) if isinstance(named, str | os.PathLike) else path
    match error.errno:
        case errno.EACCES | errno.EPERM if file.name.endswith(_BESIDE):
            # The lock and the journal lie beside the mbox, so its folder is written too.
            told = f"{file} may not be written, and {path} is not safe without it."
            return told, f"Give fetchd's user permission to write in {file.parent}."
        case errno.ENOTDIR:
            return f"{path.parent} is not a folder.", "Name another path."
        case errno.EISDIR | errno.ENXIO | errno.ENODEV | errno.EEXIST:
            return f"{file} is not a file.", "Remove what stands there or name another path."
        case errno.ELOOP:
            told = f"{file} is a symbolic link that belongs to somebody else."
            return told, "Remove it or name another path."
        case errno.EMLINK:
            told = f"{path} has a second name (a hard link), as an attacker may have made."
            return told, "Remove the other name."
        case errno.EBADMSG:
            told = f"{file} is not, or not any more, the journal that fetchd keeps of {path}."
            return told, f"Look at the end of {path}, and remove {file}."
        case errno.EFBIG:
            return f"{path} would become larger than files may be.", "Move mail out of it."
        case _:
            return maildir_trouble.trouble(path, error)

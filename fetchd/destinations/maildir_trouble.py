"""What an OSError says about a Maildir, and what its owner can do about it."""

import errno
from pathlib import Path

AGAIN = "fetchd tries again by itself."


def sentences(path: Path, error: OSError) -> str:
    """All that a person wants to know."""
    return " ".join((*trouble(path, error), AGAIN))


def trouble(path: Path, error: OSError) -> tuple[str, str]:
    """What is wrong there, and the remedy."""
    match error.errno:
        case errno.ENOSPC:
            return f"The disk of {path} is full.", "Free space there."
        case errno.EDQUOT:
            told = f"The disk quota of {path} is used up."
            return told, "Free space there or raise it."
        case errno.EACCES | errno.EPERM:
            return f"{path} may not be written.", "Give fetchd's user permission to write there."
        case errno.EROFS:
            return f"The file system of {path} is read-only.", "Mount it for writing."
        case errno.ENOENT:
            absent = path if path.parent.is_dir() else path.parent
            return f"{path} cannot be made or is gone.", f"Create or mount {absent}."
        case errno.ENOTDIR:
            told = f"{path} is not a Maildir: a folder was expected, not a link or a file."
            return told, "Remove what stands there or name another path."
        case errno.EXDEV:
            told = f"{path} and the folders around it lie on several file systems."
            return told, "Keep them on one."
        case errno.ELOOP | errno.EEXIST | errno.ENXIO | errno.EISDIR:
            return f"Something that is not mail stands in {path / 'tmp'}.", "Remove it."
        case _:
            return f"{path} cannot be written: {error.strerror}.", "Repair it."

"""Programs of Debian packages that were unpacked beside the environment, or are installed.

unpack.sh lays a package and the libraries that this machine lacks below the virtual
environment (see the Makefile); nothing of it is installed or started. `Unpacked` finds
the program there, or in its place on an installed system, and makes the environment
in which it finds its libraries.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

INSTALLED = Path("/")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One package: how the Makefile calls its folder, and a program that must be in it."""

    name: str
    program: str
    libraries: tuple[str, ...] = ()  # folders of its own, besides the usual ones

    @property
    def root(self) -> Path | None:
        """The folder that stands for "/", or None where the program is not."""
        roots = (Path(sys.prefix, self.name), INSTALLED)
        return next((root for root in roots if (root / self.program).exists()), None)

    def path(self, name: str) -> str:
        """A file of the package, by its path below "/"."""
        if self.root is None:
            raise RuntimeError(self.missing())
        return str(self.root / name)

    def environment(self) -> dict[str, str]:
        """Our own environment, with the folders of the unpacked libraries."""
        if self.root in (None, INSTALLED):
            return dict(os.environ)
        return os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, self._folders(self.root)))}

    def missing(self) -> str | None:
        """None when the program can run here, else the reason why not."""
        if self.root is None:
            return f"{self.name} is not there: make {self.name}"
        done = subprocess.run(
            ["ldd", self.path(self.program)],
            env=self.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        lacking = [line.split()[0] for line in done.stdout.splitlines() if "not found" in line]
        return f"{self.name} lacks {', '.join(lacking)}" if lacking else None

    def _folders(self, root: Path) -> list[Path]:
        own = [root / folder for folder in self.libraries]
        return [*own, *root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")]

from collections.abc import Iterator
from pathlib import Path

import pytest

from fetchd.catalog.database import Catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "data" / "catalog.db") as opened:
        yield opened

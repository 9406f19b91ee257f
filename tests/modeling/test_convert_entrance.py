"""The one function behind `cineforge convert`."""

from __future__ import annotations

import pytest

from cineforge_hf.errors import UsageError
from cineforge_hf.modeling.convert import convert


def test_it_tells_what_was_done(parity, tmp_path):
    told = convert(parity / "funcineforge_tiny", tmp_path / "out").splitlines()
    assert told[0] == f"dubbing model: {tmp_path / 'out'}, 9.3 M parameters"
    assert told[1].startswith("not needed: mel_extractor.mel_basis")
    assert len(told) == 2


def test_other_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="expected the folder of a release"):
        convert(tmp_path / "notes.txt", tmp_path / "out")

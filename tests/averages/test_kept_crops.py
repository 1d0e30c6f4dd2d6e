"""The file of the crops of a micrograph."""

from pathlib import Path

import numpy as np
import pytest

from cryotx_cli.averages.crops import Frame, crops_of, in_numbers
from cryotx_cli.averages.kept_crops import are_kept, crops_key, cut_and_keep, read_kept
from cryotx_cli.micrographs.micrograph import Micrograph

FRAME = Frame(80.0)
CENTRES = np.array([[100.25, 90.5], [150.0, 120.0], [3.0, 5.0]])


def micrograph() -> Micrograph:
    return Micrograph(np.random.default_rng(0).normal(size=(250, 300)).astype(np.float32), 2.0, Path("m"))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    cut_and_keep(tmp_path / "crops" / "m.npz", "key", micrograph(), CENTRES, FRAME, None)
    return tmp_path / "crops" / "m.npz"


def test_crops_come_back_but_for_the_rounding(kept: Path) -> None:
    expected = crops_of(micrograph(), CENTRES, FRAME)

    found = read_kept(kept, "key", CENTRES)

    assert found is not None
    assert in_numbers(found.images) == pytest.approx(expected.images.clip(-6.35, 6.35), abs=0.03)
    assert found.whole.tolist() == expected.whole.tolist()
    assert found.noise == pytest.approx(expected.noise)
    assert not found.flipped
    assert kept.stat().st_size < 3 * 64 * 64 + 4096


def test_some_of_them_in_another_order(kept: Path) -> None:
    everything, some = read_kept(kept, "key", CENTRES), read_kept(kept, "key", CENTRES[[2, 0]])

    assert everything is not None and some is not None  # noqa: PT018
    assert np.array_equal(some.images, everything.images[[2, 0]])
    assert are_kept(kept, "key", CENTRES[[2, 0]])


def test_of_other_picks_or_settings_there_are_none(kept: Path) -> None:
    for key, centres in (("other", CENTRES), ("key", CENTRES + 0.5)):
        assert read_kept(kept, key, centres) is None
        assert not are_kept(kept, key, centres)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY"])
def test_a_damaged_file_is_no_file(kept: Path, content: bytes) -> None:
    kept.write_bytes(content)

    assert read_kept(kept, "key", CENTRES) is None
    assert not are_kept(kept, "key", CENTRES)


def test_no_damaged_byte_stops_anything_or_passes_for_crops(kept: Path) -> None:
    """Bytes of the headers, which no checksum guards: they raise whatever zipfile, numpy and tokenize raise."""
    content, expected = kept.read_bytes(), read_kept(kept, "key", CENTRES)
    assert expected is not None
    headers = [i for at in _places(content, b"PK") for i in range(at, min(at + 190, len(content)))]
    rng = np.random.default_rng(0)
    missing = 0
    for place in rng.choice(headers, 400):
        damaged = bytearray(content)
        damaged[place] ^= rng.integers(1, 256)
        kept.write_bytes(damaged)

        found = read_kept(kept, "key", CENTRES)

        missing += found is None
        assert are_kept(kept, "key", CENTRES) in {True, False}
        assert found is None or np.array_equal(found.images, expected.images)
    assert missing > 100


def _places(content: bytes, part: bytes) -> list[int]:
    return [i for i in range(len(content)) if content.startswith(part, i)]


def test_half_a_file_is_no_file(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:5000])

    assert read_kept(kept, "key", CENTRES) is None


def test_without_room_they_are_only_returned(tmp_path: Path) -> None:
    (tmp_path / "crops").write_text("a file where the folder should be")

    found = cut_and_keep(tmp_path / "crops" / "m.npz", "key", micrograph(), CENTRES, FRAME, None)

    assert len(found.images) == 3


def test_the_key_tells_diameters_and_contrast_transfers_apart() -> None:
    keys = {
        crops_key("c", FRAME, None), crops_key("d", FRAME, None), crops_key("c", Frame(81.0), None),
        crops_key("c", FRAME, {"defocus_u": 1.0}),
    }  # fmt: skip

    assert len(keys) == 4

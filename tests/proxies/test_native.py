"""Loops in C++: built once, found again, and gone without where they cannot be built."""

import logging
from pathlib import Path

import pytest

from proxies import native

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="needs a C++ compiler")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "loop.cpp"


def built(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "mixopt").iterdir())


@pytest.mark.skipif(not native.has_unit("avx512_bf16"), reason="needs AVX-512 with bf16 units")
@pytest.mark.parametrize("name", sorted(file.name for file in Path(native.__file__).parent.glob("*.cpp")))
def test_every_loop_that_is_shipped_can_be_built(name: str) -> None:
    assert native.library(Path(native.__file__).with_name(name)) is not None


def test_a_loop_is_built_once_for_all_processes(source: Path, tmp_path: Path) -> None:
    source.write_text('extern "C" int twice(int x) { return 2 * x; }')
    first = native.library(source)
    assert first is not None
    assert first.twice(21) == 42
    (file,) = built(tmp_path)
    made = file.stat().st_mtime_ns
    native.library.cache_clear()  # as another process would begin
    assert native.library(source) is not None
    assert [each.stat().st_mtime_ns for each in built(tmp_path)] == [made]


def test_another_text_is_another_loop(source: Path, tmp_path: Path) -> None:
    for factor in (2, 3):
        source.write_text(f'extern "C" int times(int x) {{ return {factor} * x; }}')
        native.library.cache_clear()
        found = native.library(source)
        assert found is not None
        assert found.times(7) == 7 * factor
    assert len(built(tmp_path)) == 2


def test_another_text_of_what_it_includes_is_another_loop(source: Path, tmp_path: Path) -> None:
    source.write_text('#include "factor.h"\nextern "C" int times(int x) { return FACTOR * x; }')
    for factor in (2, 3):
        (tmp_path / "factor.h").write_text(f"#define FACTOR {factor}\n")
        native.library.cache_clear()
        found = native.library(source)
        assert found is not None
        assert found.times(7) == 7 * factor


def test_a_loop_that_cannot_be_built_is_told_of_and_gone_without(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source.write_text("this is no C++")
    with caplog.at_level(logging.WARNING):
        assert native.library(source) is None
    assert "cannot build loop.cpp, so that slower code runs in its place: " in caplog.text
    assert built(tmp_path) == []


def test_where_nothing_can_be_kept_slower_code_runs(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source.write_text("")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder, and cannot become one
    with caplog.at_level(logging.WARNING):
        assert native.library(source) is None
    assert "cannot build loop.cpp" in caplog.text

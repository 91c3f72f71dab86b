"""The parts by themselves: the engine and its queue, the desk that tidies up, the cache that forgets."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from library_sets import draw
from served import until

from quickstep.apps.server.batch_worker import Engine, Kind
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.no_cache import Forgetful
from quickstep.apps.server.upload_folder import Desk, with_suffix_of
from quickstep.storage.cache import Cache


@pytest.fixture
def engine() -> Engine:
    return Engine("test", batch=4, metrics=Metrics())


def test_what_waits_of_one_kind_is_done_together_in_order(engine: Engine) -> None:
    may, done = threading.Event(), []

    def work(asks: object) -> list[int]:
        assert may.wait(10)
        done.append(list(asks))  # type: ignore[call-overload]
        return [ask * 2 for ask in done[-1]]

    one, other, alone = Kind("one", work), Kind("other", work), Kind("alone", work, together=False)
    first = engine.submit(one, 0)
    until(lambda: len(engine) == 0)
    futures = [engine.submit(kind, ask) for ask, kind in enumerate((one, other, one, one, alone, alone, one, one), start=1)]
    may.set()
    assert [future.result(10) for future in (first, *futures)] == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert done == [[0], [1, 3, 4, 7], [2], [5], [6], [8]]
    engine.close()


def test_one_that_goes_wrong_does_not_take_the_others_with_it(engine: Engine) -> None:
    def work(asks: object) -> list[float]:
        return [1 / ask for ask in asks]  # type: ignore[attr-defined]

    futures = [engine.submit(Kind("divide", work), 0)] + [engine.submit(kind, ask) for kind in [Kind("divide", work)] for ask in (1, 0, 2)]
    assert isinstance(futures[0].exception(10), ZeroDivisionError)
    assert futures[1].result(10) == 1
    assert isinstance(futures[2].exception(10), ZeroDivisionError)
    assert futures[3].result(10) == 0.5
    engine.close()


def test_what_is_cancelled_is_not_begun_and_the_end_lets_all_go(engine: Engine) -> None:
    may, begun = threading.Event(), []

    def work(asks: object) -> object:
        begun.extend(asks)  # type: ignore[arg-type]
        assert may.wait(10)
        return asks

    alone = Kind("alone", work, together=False)
    futures = [engine.submit(alone, ask) for ask in range(4)]
    until(lambda: begun == [0])
    assert futures[1].cancel()
    closing = threading.Thread(target=engine.close)
    closing.start()
    until(lambda: futures[3].cancelled())
    may.set()
    closing.join(10)
    assert begun == [0]
    assert futures[0].result(10) == 0
    with pytest.raises(CancelledError):
        futures[2].result(10)
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(alone, 5)


def test_a_desk_is_tidied_by_the_next_one_unless_it_is_in_use(tmp_path: Path) -> None:
    killed, used = Desk(tmp_path), Desk(tmp_path)
    (killed.folder / "left.mp4").write_bytes(b"a video")
    (tmp_path / "quickstep-serve-not-ours").mkdir()
    killed._lock.release()  # as the system does when a process dies
    third = Desk(tmp_path)
    assert not killed.folder.exists()
    assert used.folder.exists()
    assert (tmp_path / "quickstep-serve-not-ours").exists()
    assert used.folder.stat().st_mode & 0o077 == 0
    for desk in (used, third):
        desk.close()
        assert not desk.folder.exists()


def test_a_place_is_vacant_afterwards_whatever_happened(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def fail() -> None:
        with desk.place() as path:
            path.write_bytes(b"a video")
            assert with_suffix_of("dance.MP4", path).exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [each.name for each in desk.folder.iterdir() if each.name != ".lock"] == []
    desk.close()


@pytest.mark.parametrize(("name", "ending"), [("a.mp4", ".mp4"), ("A.MOV", ".mov"), ("../../a.webm", ".webm")])
@pytest.mark.parametrize("other", ["a", "../../etc/passwd", "a.mp4/../b", "a.json", "a.csv", "a.pkl#x", "a.mp4\0", "..", ""])
def test_of_a_name_nothing_but_a_known_ending_is_used(tmp_path: Path, name: str, ending: str, other: str) -> None:
    for said, expected in ((name, ending), (other, "")):
        path = tmp_path / "place"
        path.write_bytes(b"")
        assert with_suffix_of(said, path) == tmp_path / f"place{expected}"


def test_a_forgetful_store_keeps_nothing_on_disk_and_forgets(tmp_path: Path) -> None:
    cache, video = Forgetful(tmp_path / "store"), draw(tmp_path / "a.mp4", ("red", 1))
    key = {"kind": "features", "video": cache.digest(video)}
    assert key["video"] == Cache(tmp_path / "other").digest(video)
    cache.put(key, {"values": np.arange(3)})
    cache.put({"kind": "flow"}, {"values": np.arange(3)})
    cache.remember("flow windows", key, 3)
    kept = cache.get(key)
    assert kept is not None
    assert kept["values"].tolist() == [0, 1, 2]
    assert cache.get({"kind": "flow"}) is None
    assert cache.recall("flow windows", key) is None
    cache.forget()
    assert cache.get(key) is None
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.suffix == ".safetensors"] == []

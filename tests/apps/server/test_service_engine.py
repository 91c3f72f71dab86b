"""The parts of the service: the worker and its queue, the upload folder, the cache of a batch."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from library_sets import draw
from served import wait_until

from quickstep.apps.server.batch_worker import BatchWorker, JobKind
from quickstep.apps.server.inference_tasks import BatchCache
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.video_input import UploadFolder, with_suffix_of
from quickstep.storage.cache import Cache


@pytest.fixture
def worker() -> BatchWorker:
    return BatchWorker("test", batch=4, metrics=Metrics())


def test_waiting_jobs_of_one_kind_are_done_together_in_order(worker: BatchWorker) -> None:
    resume, done = threading.Event(), []

    def work(inputs: object) -> list[int]:
        assert resume.wait(10)
        done.append(list(inputs))  # type: ignore[call-overload]
        return [number * 2 for number in done[-1]]

    one, other, alone = JobKind("one", work), JobKind("other", work), JobKind("alone", work, together=False)
    first = worker.submit(one, 0)
    wait_until(lambda: len(worker) == 0)
    futures = [worker.submit(kind, number) for number, kind in enumerate((one, other, one, one, alone, alone, one, one), start=1)]
    resume.set()
    assert [future.result(10) for future in (first, *futures)] == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert done == [[0], [1, 3, 4, 7], [2], [5], [6], [8]]
    worker.close()


def test_a_failing_job_does_not_fail_the_others(worker: BatchWorker) -> None:
    def work(inputs: object) -> list[float]:
        return [1 / number for number in inputs]  # type: ignore[attr-defined]

    divide = JobKind("divide", work)
    futures = [worker.submit(JobKind("other", work), 0), *(worker.submit(divide, number) for number in (1, 0, 2))]
    assert isinstance(futures[0].exception(10), ZeroDivisionError)
    assert futures[1].result(10) == 1
    assert isinstance(futures[2].exception(10), ZeroDivisionError)
    assert futures[3].result(10) == 0.5
    worker.close()


def test_a_cancelled_job_is_not_begun_and_close_cancels_the_rest(worker: BatchWorker) -> None:
    resume, begun = threading.Event(), []

    def work(inputs: object) -> object:
        begun.extend(inputs)  # type: ignore[arg-type]
        assert resume.wait(10)
        return inputs

    alone = JobKind("alone", work, together=False)
    futures = [worker.submit(alone, number) for number in range(4)]
    wait_until(lambda: begun == [0])
    assert futures[1].cancel()
    closing = threading.Thread(target=worker.close)
    closing.start()
    wait_until(lambda: futures[3].cancelled())
    resume.set()
    closing.join(10)
    assert begun == [0]
    assert futures[0].result(10) == 0
    with pytest.raises(CancelledError):
        futures[2].result(10)
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(alone, 5)


def test_an_abandoned_upload_folder_is_removed_by_the_next_service(tmp_path: Path) -> None:
    killed, used = UploadFolder(tmp_path), UploadFolder(tmp_path)
    (killed.path / "left.mp4").write_bytes(b"a video")
    (tmp_path / "quickstep-serve-not-ours").mkdir()
    killed._lock.release()  # as the system does when a process dies
    third = UploadFolder(tmp_path)
    assert not killed.path.exists()
    assert used.path.exists()
    assert (tmp_path / "quickstep-serve-not-ours").exists()
    assert used.path.stat().st_mode & 0o077 == 0
    for folder in (used, third):
        folder.close()
        assert not folder.path.exists()


def test_a_video_is_removed_also_after_an_error(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path)

    def fail() -> None:
        with folder.new_path() as path:
            path.write_bytes(b"a video")
            assert with_suffix_of("dance.MP4", path).exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [file.name for file in folder.path.iterdir() if file.name != ".lock"] == []
    folder.close()


@pytest.mark.parametrize(("name", "ending"), [("a.mp4", ".mp4"), ("A.MOV", ".mov"), ("../../a.webm", ".webm")])
@pytest.mark.parametrize("other", ["a", "../../etc/passwd", "a.mp4/../b", "a.json", "a.csv", "a.pkl#x", "a.mp4\0", "..", ""])
def test_only_a_known_suffix_of_a_name_is_used(tmp_path: Path, name: str, ending: str, other: str) -> None:
    for file_name, expected in ((name, ending), (other, "")):
        path = tmp_path / "place"
        path.write_bytes(b"")
        assert with_suffix_of(file_name, path) == tmp_path / f"place{expected}"


def test_a_forgetful_store_keeps_nothing_on_disk_and_forgets(tmp_path: Path) -> None:
    cache, video = BatchCache(tmp_path / "store"), draw(tmp_path / "a.mp4", ("red", 1))
    key = {"kind": "features", "video": cache.digest(video)}
    assert key["video"] == Cache(tmp_path / "other").digest(video)
    cache.put(key, {"values": np.arange(3)})
    cache.put({"kind": "flow"}, {"values": np.arange(3)})
    cache.remember("flow windows", key, 3)
    entry = cache.get(key)
    assert entry is not None
    assert entry["values"].tolist() == [0, 1, 2]
    assert cache.get({"kind": "flow"}) is None
    assert cache.recall("flow windows", key) is None
    cache.clear()
    assert cache.get(key) is None
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.suffix == ".safetensors"] == []

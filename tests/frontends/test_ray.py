"""A clip on a Ray cluster of two machines of one CPU, both of them this one: a local run's output, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from video.clips import Blend, leftovers, panning, write
from video.test_resume import CASES, contents, shots
from vinr_engine.cli import main as cli
from vinr_engine.errors import Cancelled, SourceError, UsageError, VinrError
from vinr_engine.frontends import ray as front
from vinr_engine.video.job import Job
from vinr_engine.video.render import upscale

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """As tasks have, in local runs: the last digits of the package's network depend on it."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def nodes():
    """The cluster, which this process is connected to. Its second machine is ``second``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        with front._signals_kept():
            cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
            cluster.second = cluster.add_node(num_cpus=1)
            ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        ray.cloudpickle.register_pickle_by_value(sys.modules[Blend.__module__])
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def cluster(nodes):
    with front.connected("auto") as cluster:
        yield cluster
    assert ray.is_initialized()  # it was not ours to close


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "in.mp4", shots(), audio="aac", options={"crf": "4", "g": "4"})


class Once(Blend):
    """Does something to its process at the first picture that anyone asks for at a time, and never again."""

    def __init__(self, flag, what):
        super().__init__()
        self.flag, self.what = flag, what

    def query(self, features, frames, times, size, *, shared=None):
        if not self.flag.exists():
            self.flag.touch()
            if self.what == "exit":
                os._exit(1)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().query(features, frames, times, size, shared=shared)


class Slow(Blend):
    """Takes its time."""

    def query(self, features, frames, times, size, *, shared=None):
        time.sleep(0.1)
        return super().query(features, frames, times, size, shared=shared)


class Fails(Blend):
    def query(self, features, frames, times, size, *, shared=None):
        if frames.mean() > 0:
            raise ZeroDivisionError("by this\nnetwork")


OPTIONS = {"space": 1, "time": 3, "segment": 4}


def merged(options):
    """OPTIONS with others in their place; a rate takes the place of --time."""
    return OPTIONS | ({"time": None} if "fps" in options else {}) | options


def expected(tmp_path, source, name="o.mp4", **options):
    """(the output of a local run, its summary)"""
    (tmp_path / "whole").mkdir()
    done = upscale(source, tmp_path / "whole" / name, model=Blend(), **merged(options))
    return contents(tmp_path / "whole" / name), done


def job(source, dst, model=None, **options):
    return Job(str(source), str(dst), model=model or Blend(), **merged(options))


@pytest.mark.parametrize("case", ["mp4", "folder", "rate", "part", "no cuts", "lossless", "one frame a segment"])
def test_the_output_is_a_local_runs(tmp_path, source, cluster, case):
    name, options = CASES[case]
    whole, done = expected(tmp_path, source, name, **options)
    seen, notes = [], []
    options = {"progress": lambda done, total: seen.append((done, total)), "note": notes.append, **options}
    spread = cluster.render(job(source, tmp_path / name, **options))
    assert contents(tmp_path / name) == whole
    facts = ("frames_in", "frames_out", "cuts", "rate", "audio_streams", "weights", "resumed")
    assert [getattr(spread, fact) for fact in facts] == [getattr(done, fact) for fact in facts]
    assert [n for n, _ in seen] == sorted({n for n, _ in seen})
    assert seen[-1][0] == done.frames_out
    assert leftovers(tmp_path) == []
    assert [note for note in notes if not note.startswith("left out: audio 1")] == []
    assert spread.stages.compute > 0


def test_the_packages_network_is_sent(tmp_path, cluster, monkeypatch):
    """It goes as a checkpoint."""
    source = write(tmp_path / "in.mp4", panning(4, 40, 24))
    upscale(source, tmp_path / "whole.mp4", time=2, segment=3)
    sent = []
    monkeypatch.setattr(ray, "put", lambda value, real=ray.put: (sent.append(type(value)), real(value))[1])
    cluster.render(Job(str(source), str(tmp_path / "o.mp4"), time=2, segment=3))
    assert contents(tmp_path / "o.mp4") == contents(tmp_path / "whole.mp4")
    assert sent == [bytes, tuple]


@pytest.mark.parametrize("what", ["exit", "kill"])
def test_a_worker_that_dies_loses_nothing(tmp_path, source, cluster, what):
    whole, _ = expected(tmp_path, source)
    model = Once(tmp_path / "flag", what)
    model.name = "given model"
    cluster.render(job(source, tmp_path / "o.mp4", model))
    assert model.flag.exists()
    assert contents(tmp_path / "o.mp4") == whole


def test_a_machine_that_goes_loses_nothing(tmp_path, source, cluster, nodes):
    whole, _ = expected(tmp_path, source, segment=2)
    gone = []

    def progress(done, total):
        if done and not gone:
            gone.append(nodes.second)
            nodes.remove_node(nodes.second, allow_graceful=False)

    cluster.render(job(source, tmp_path / "o.mp4", Slow(), segment=2, progress=progress))
    nodes.second = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    assert gone
    assert contents(tmp_path / "o.mp4") == whole


def test_an_interruption_keeps_the_first_segments(tmp_path, source, cluster):
    whole, _ = expected(tmp_path, source)
    seen = []
    with pytest.raises(Cancelled, match=r"\d+ of about 27 output frames are kept, and the same command goes on"):
        cluster.render(
            job(source, tmp_path / "o.mp4", Slow(), progress=lambda n, _: seen.append(n), cancel=lambda: len(seen) > 1)
        )
    assert not (tmp_path / "o.mp4").exists()
    # with or without the cluster
    done = upscale(source, tmp_path / "o.mp4", model=Blend(), **OPTIONS)
    assert done.resumed in (4, 8, 12, 16, 20)
    assert contents(tmp_path / "o.mp4") == whole


def test_what_an_interrupted_local_run_has_done_is_taken_up(tmp_path, source, cluster):
    whole, _ = expected(tmp_path, source)
    count = iter(range(100))
    with pytest.raises(Cancelled):
        upscale(source, tmp_path / "o.mp4", model=Blend(), cancel=lambda: next(count) == 8, **OPTIONS)
    assert cluster.render(job(source, tmp_path / "o.mp4")).resumed == 8
    assert contents(tmp_path / "o.mp4") == whole


@pytest.mark.parametrize("again", ["cluster", "local"])
def test_a_driver_that_is_killed_is_taken_up(tmp_path, nodes, cluster, again):
    source = write(tmp_path / "in.mp4", panning(12, 40, 24))
    options = {"time": 2, "segment": 2}
    upscale(source, tmp_path / "whole.mp4", **options)
    command = [
        sys.executable,
        "-m",
        "vinr_engine.cli",
        "upscale",
        source,
        tmp_path / "o.mp4",
        "--time=2",
        "--segment=2",
    ]
    driver = subprocess.Popen([*command, "--ray", nodes.address], start_new_session=True)
    work = tmp_path / ".o.mp4.vinr"
    until = time.monotonic() + 120
    while not (work / "chunk-000002.packets").exists() and time.monotonic() < until:
        assert driver.poll() is None
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    assert not (tmp_path / "o.mp4").exists()
    asked = Job(str(source), str(tmp_path / "o.mp4"), **options)
    done = cluster.render(asked) if again == "cluster" else upscale(source, tmp_path / "o.mp4", **options)
    assert done.resumed >= 4
    assert contents(tmp_path / "o.mp4") == contents(tmp_path / "whole.mp4")
    assert leftovers(tmp_path) == []


def test_few_segments_are_out_at_a_time(tmp_path, source, cluster, monkeypatch):
    most = []
    real = front._Tasks.add

    def add(self, segment):
        real(self, segment)
        most.append(len(self._flying))

    monkeypatch.setattr(front._Tasks, "add", add)
    cluster.render(job(source, tmp_path / "o.mp4", Slow(), segment=1))
    assert len(most) == 27
    assert max(most) == 4


def test_what_a_worker_says_is_said_once(tmp_path, source, cluster, monkeypatch):
    """The input cannot be entered for any segment, as each mark names another picture."""
    whole, _ = expected(tmp_path, source)
    real = front._Tasks.add

    def add(self, segment):
        if segment.begin is not None:
            segment = front.replace(segment, begin=front.replace(segment.begin, digest="another"))
        real(self, segment)

    monkeypatch.setattr(front._Tasks, "add", add)
    notes = []
    cluster.render(job(source, tmp_path / "o.mp4", note=notes.append))
    assert notes == ["the input cannot be entered exactly where the last run ended: reading it from its beginning"]
    assert contents(tmp_path / "o.mp4") == whole


def test_errors_of_workers(tmp_path, source, cluster):
    with pytest.raises(VinrError, match=r"^a worker failed: ZeroDivisionError: by this network$"):
        cluster.render(job(source, tmp_path / "o.mp4", Fails()))
    assert leftovers(tmp_path) == []


def test_a_source_that_is_damaged_keeps_what_lies_before(tmp_path, source, cluster, monkeypatch):
    def damaged(*args):
        for n, picture in enumerate(real(*args)):
            if n == 6:
                raise SourceError("damaged")
            yield picture

    real = front.pictures_from
    monkeypatch.setattr(front, "pictures_from", damaged)
    with pytest.raises(SourceError, match="damaged"):
        cluster.render(job(source, tmp_path / "o.mp4"))
    monkeypatch.undo()
    assert cluster.render(job(source, tmp_path / "o.mp4")).resumed == 12


@pytest.mark.parametrize(
    ("options", "cpus", "match"),
    [
        ({}, 64, "no machine of the cluster has 64 CPUs"),
        ({"device": "cuda"}, 1, "no machine of the cluster has 1 CPUs and a GPU"),
        ({"device": "cuda:1"}, 1, "Ray gives each task a GPU of its own"),
        ({"model": lambda: None}, 0, "--ray-cpus must be at least 1, got 0"),
    ],
)
def test_what_a_cluster_cannot_do(tmp_path, source, nodes, options, cpus, match):
    with pytest.raises(UsageError, match=match), front.connected("auto", cpus) as cluster:
        cluster.render(job(source, tmp_path / "o.mp4", **options))
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_sent(tmp_path, source, cluster):
    model = Blend()
    with (
        open(source) as model.lock,
        pytest.raises(UsageError, match="the network given model cannot be sent to other machines"),
    ):
        cluster.render(job(source, tmp_path / "o.mp4", model))
    assert leftovers(tmp_path) == []


def test_many_clips(tmp_path, nodes, capsys):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.mp4", panning(3, 16, 12, seed=ord(name)))
    options = ["--time", "2", "--space", "2", "--segment", "2"]
    assert cli.main(["upscale", str(tmp_path / "a.mp4"), str(tmp_path / "whole.mp4"), *options]) == 0
    clips = [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]
    assert cli.main(["upscale", *clips, "-o", str(tmp_path / "out"), "--ray", "auto", *options]) == 0
    assert "2 done" in capsys.readouterr().out
    assert contents(tmp_path / "out" / "a.mp4") == contents(tmp_path / "whole.mp4")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--ray-cpus", "2"], "--ray-cpus is for --ray"),
        (["--ray", "auto", "--runtime", "onnxruntime", "--model", "m"], "--ray excludes --runtime"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, source, arguments, match, capsys):
    assert cli.main(["upscale", str(source), str(tmp_path / "o.mp4"), *arguments]) == 2
    assert match in capsys.readouterr().err


def test_ray_is_not_installed(tmp_path, source, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["upscale", str(source), str(tmp_path / "o.mp4"), "--ray", "auto"]) == 2
    assert "pip install 'vinr_engine[ray]'" in capsys.readouterr().err


def run(*arguments, **options):
    environment = os.environ | {"RAY_worker_niceness": "0"}
    command = [sys.executable, "-m", "vinr_engine.cli", "upscale", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
def test_a_cluster_of_the_commands_own(tmp_path):
    """Ctrl-C, which a terminal sends to all of its processes, keeps what is done; the same command goes on."""
    source = write(tmp_path / "in.mp4", panning(30, 40, 24))
    command = (source, tmp_path / "o.mp4", "--time=2", "--segment=2", "--ray=local")
    process = run(*command, start_new_session=True)
    work = tmp_path / ".o.mp4.vinr"
    while not (work / "chunk-000000.packets").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "are kept, and the same command goes on from there" in said
    assert len(said.splitlines()) <= 3, said
    process = run(*command)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "output frames are done: going on from there" in said
    upscale(source, tmp_path / "whole.mp4", time=2, segment=2)
    assert contents(tmp_path / "o.mp4") == contents(tmp_path / "whole.mp4")
    assert leftovers(tmp_path) == []


def test_a_cluster_that_does_not_answer(tmp_path, source):
    process = run(source, tmp_path / "o.mp4", "--ray", "127.0.0.1:9")
    _, said = process.communicate()
    assert (process.returncode, said.splitlines()[-1][:35]) == (2, "vinr: --ray 127.0.0.1:9: no cluster")
    assert list(Path(tmp_path).iterdir()) == []

"""The network recorded in CUDA graphs. Without a GPU a stand-in records and replays torch's operators on the CPU."""

import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vinr_engine as vinr
from benchmarks.tolerances import TRITON, relative_error
from vinr_engine.errors import VinrError
from vinr_engine.models import graphs
from vinr_engine.models.graphs import WARM_UP, Graphed, GraphedNetwork
from vinr_engine.models.videoinr import network as videoinr
from vinr_engine.models.videoinr.network import times_tensor

SMALL = dict(
    nf=8, groups=2, front_blocks=1, back_blocks=1, hr_features=6, feat_hidden=(8,), flow_hidden=(8,), encode_hidden=(8,)
)  # fmt: skip
KINDS = {"published": {}, "residual": dict(residual=True, recurrent=False, motion_prior=True)}
# What waits for the GPU or copies from the host, neither of which a recording takes.
FORBIDDEN = ("_local_scalar_dense", "lift_fresh", "nonzero", "is_nonzero", "equal", "_pin_memory")


def storages(values):
    return {t.untyped_storage().data_ptr() for t in tree_leaves(values) if isinstance(t, torch.Tensor)}


class Graph(TorchDispatchMode):
    """Notes every operator, and gives nothing of use: results are there after a replay, in the same memory."""

    def __init__(self):
        super().__init__()
        self.calls, self.replays = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        taken = storages((args, kwargs))
        made = [
            (i, t)
            for i, t in enumerate(tree_leaves(out))
            if isinstance(t, torch.Tensor) and t.untyped_storage().data_ptr() not in taken
        ]
        self.calls.append((func, args, kwargs, made))
        return out

    def forget(self):
        for _, _, _, made in self.calls:
            for _, t in made:
                if t.is_floating_point():
                    t.fill_(torch.nan)

    def replay(self):
        self.replays += 1
        with torch.autocast("cpu", enabled=False):  # its casts were recorded
            for func, args, kwargs, made in self.calls:
                again = tree_leaves(func(*args, **kwargs))
                for i, t in made:
                    t.copy_(again[i])


class Stream:
    current = None

    def __init__(self, device=None):
        self.waited = []

    def wait_stream(self, other):
        self.waited.append(other)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Capture:
    """As torch.cuda.graph does, it takes the stream first and gives it back last, after what may fail."""

    refusal = failure = None

    def __init__(self, graph, pool, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        assert stream.waited
        self.graph, self.stream = graph, stream

    def __enter__(self):
        self.before = Stream.current
        torch.cuda.set_stream(self.stream)
        if self.refusal:
            raise RuntimeError(self.refusal)
        self.graph.__enter__()

    def __exit__(self, *error):
        self.graph.__exit__(*error)
        if self.failure:
            raise torch.AcceleratorError(self.failure)
        self.graph.forget()
        torch.cuda.set_stream(self.before)


@pytest.fixture
def device(monkeypatch):
    """A stand-in for a GPU; the graphs that were made on it."""
    made = []
    monkeypatch.setattr(Stream, "current", Stream())

    def make():
        made.append(Graph())
        return made[-1]

    monkeypatch.setattr(graphs, "_on_a_gpu", lambda tensor: True)
    # Times are looked at on a CPU alone.
    monkeypatch.setattr(
        videoinr, "times_tensor", lambda t, *rest: t if isinstance(t, torch.Tensor) else times_tensor(t, *rest)
    )
    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream.current)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: setattr(Stream, "current", stream))
    return made


class WithFlow(vinr.VideoINR):
    query = vinr.VideoINR.query_with_flow


def network(kind):
    torch.manual_seed(0)
    model = WithFlow(**SMALL, **KINDS[kind])
    with torch.no_grad():  # layers that start at zero would hide what is read
        for parameter in model.parameters():
            parameter.uniform_(-0.2, 0.2)
    return model


def pictures(model, pairs, size):
    """Everything that a video tool asks of a network, kept until the end."""
    out = []
    for frames in pairs:
        first, second = model.known(frames[:, 0]), model.known(frames[:, 1])
        features = model.encode_pair(first, second)
        shared = model.shared(features, frames, size)
        for t in (0.0, 0.25, 1.0):
            out += model.query(features, frames, [t], size, shared=shared)
        out += [
            first.frame,
            *first.levels,
            second.frame,
            *second.levels,
            features,
            *([] if shared is None else [shared]),
        ]
    return out


@pytest.mark.parametrize("low", [None, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_replays_give_what_the_network_gives(device, kind, low):
    model = network(kind)
    pairs = [torch.rand(1, 2, 3, 9, 12) for _ in range(3)]
    with torch.inference_mode(), torch.autocast("cpu", low or torch.bfloat16, enabled=low is not None):
        expected = pictures(model, pairs, (18, 20))
        actual = pictures(GraphedNetwork(model), pairs, (18, 20))
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    parts = 4 if kind == "residual" else 3
    assert len(device) == parts
    assert sum(graph.replays for graph in device) == 3 * (2 + 1 + 3 + (kind == "residual"))
    for graph in device:
        names = {func.name().partition("::")[2].partition(".")[0] for func, *_ in graph.calls}
        assert names.isdisjoint(FORBIDDEN), names


def test_forbidden_operators_are_seen():
    """The names that the test above looks for are those of today's torch."""
    graph = Graph()
    with graph:
        torch.rand(2).new_tensor([1.0, 2.0])
        torch.rand(1).item()
    names = {func.name().partition("::")[2].partition(".")[0] for func, *_ in graph.calls}
    assert {"lift_fresh", "_local_scalar_dense"} <= names


def double(x, factor=2):
    return (x * factor,)


def test_records_once_for_each_kind_of_call(device):
    calls = []

    def counted(x, factor=2):
        calls.append(torch.is_autocast_cache_enabled())
        return double(x, factor)

    graphed = Graphed(counted, "double", most=9)
    wide = torch.rand(4, 6)
    with torch.no_grad():
        for x in (wide, wide + 1, wide.t(), wide.double(), wide[:2]):
            assert torch.equal(graphed(x)[0], 2 * x)
        assert len(device) == 4
        assert torch.equal(graphed(wide, 3)[0], 3 * wide)
        with torch.autocast("cpu", torch.bfloat16):
            graphed(wide)
        with torch.autocast("cpu", torch.float16):
            graphed(wide)
        with vinr.input_precision("ieee"):
            graphed(wide)
    assert len(device) == 8
    assert calls == [False] * 8 * (WARM_UP + 1)  # a kept cast would outlive its memory


def test_what_it_gives_and_takes_belongs_to_the_caller(device):
    graphed = Graphed(double, "double")
    with torch.no_grad():
        given = torch.ones(3)
        first = graphed(given)[0]
        given.zero_()
        second = graphed(given)[0]
    assert first.tolist() == [2] * 3
    assert second.tolist() == [0] * 3


def test_falls_back_and_says_so_once(device, caplog, monkeypatch):
    graphed = Graphed(double, "double", most=2)
    with torch.no_grad(), caplog.at_level(logging.WARNING, "vinr_engine"):
        for n in (1, 2, 3, 4, 1):
            assert graphed(torch.ones(n))[0].tolist() == [2] * n
    assert [r.getMessage() for r in caplog.records] == [
        "double runs without a CUDA graph: shapes change: 2 sets are recorded already"
    ]
    assert [graph.replays for graph in device] == [2, 1]
    caplog.clear()
    with torch.enable_grad():
        assert graphed(torch.ones(1, requires_grad=True))[0].requires_grad
    monkeypatch.setattr(graphs, "_on_a_gpu", lambda tensor: False)
    with torch.no_grad():
        graphed(torch.ones(1))
        graphed(torch.ones(2))
    assert [r.getMessage().partition(": ")[2] for r in caplog.records] == [
        "gradients are enabled",
        "its tensors are not on a GPU",
    ]


def test_a_refused_recording_is_an_error_and_leaves_the_stream(device, monkeypatch):
    before, graphed = Stream.current, Graphed(double, "double")
    failing = Graphed(lambda x: 1 / 0, "failing")
    monkeypatch.setattr(graphs, "WARM_UP", 0)
    with torch.no_grad():
        for name, function, cause in (
            ("refusal", graphed, "operation not permitted when stream is capturing"),
            ("failure", graphed, "operation not permitted when stream is capturing"),
            ("failure", failing, "division by zero"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(Capture, name, "operation not permitted\nwhen stream is capturing")
                with pytest.raises(VinrError) as caught:
                    function(torch.ones(1))
            assert str(caught.value) == f"no CUDA graph of {function.name}, run without --cuda-graphs: {cause}"
            assert Stream.current is before
            assert function._stream is function._pool is None
        assert graphed(torch.ones(1))[0].tolist() == [2]
    assert device[-1].replays == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("low", [None, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_replays_give_what_the_network_gives(kind, low):
    model = network(kind).cuda()
    pairs = [torch.rand(1, 2, 3, 9, 12, device="cuda") for _ in range(3)]
    with torch.inference_mode(), torch.autocast("cuda", low or torch.float16, enabled=low is not None):
        expected = pictures(model, pairs, (18, 20))
        graphed = GraphedNetwork(model)
        actual = pictures(graphed, pairs, (18, 20))
    assert graphed._query._recordings
    # cuDNN may choose another algorithm when it is asked again, unless it must not.
    exact = torch.are_deterministic_algorithms_enabled()
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        assert relative_error(a, b) <= (0 if exact else TRITON[low or torch.float32])

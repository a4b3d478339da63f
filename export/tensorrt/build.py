"""Builds TensorRT engines of both graphs: with TensorRT for the GPU at hand, or with TensorRT-RTX ahead of time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vinr_engine import files
from vinr_engine._version import __version__
from vinr_engine.errors import UsageError, VinrError, reason
from vinr_engine.export.options import DTYPES, PROFILES
from vinr_engine.export.tensorrt import plugin_library as library
from vinr_engine.export.tensorrt.engine_files import TARGETS, Files, Limits, Report, fingerprint, paths
from vinr_engine.models import Network, VideoINR
from vinr_engine.models.videoinr.network import DETAIL_UPSAMPLE

MODULES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
FRAME_UPSAMPLE = 4


def runtime_module(runtime: str | None, targets: Sequence[str] = ()) -> tuple[str, Any]:
    """The builder to use and its module: the one asked for, or the one that builds for `targets` without such a GPU, or
    full TensorRT before TensorRT-RTX. UsageError."""
    if runtime is not None and runtime not in MODULES:
        raise UsageError(f"--builder must be one of {', '.join(MODULES)}, got {runtime!r}")
    runtime = runtime or ("tensorrt-rtx" if targets else None)
    for name in [runtime] if runtime else MODULES:
        for module in MODULES[name]:
            if find_spec(module) is None:
                continue
            try:
                builder = import_module(module)
            except Exception as error:  # whatever its own loading of libraries raises
                raise UsageError(f"{name} is installed, but {module} does not load: {reason(error)}") from None
            if hasattr(builder, "Builder"):
                return name, builder
    wanted = runtime or " or ".join(MODULES)
    install = "tensorrt" if runtime == "tensorrt" else "tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs"
    raise UsageError(f"{wanted} is not installed: pip install {install}")


def _shapes(limits: Limits, width: int) -> dict[str, list[tuple[int, ...]]]:
    """Least, usual and largest shape of every input whose shape varies, of both graphs; maps are `width` wide."""
    sides, u = limits.padded(), FRAME_UPSAMPLE
    return {
        "maps": [(1, h, w, width) for h, w in sides],
        "colours": [(1, u * h, u * w, 8) for h, w in sides],
        "times": [(1,), *((n,) for n in limits.times)],
        "frames": [(1, 2, 3, h, w) for h, w in sides],
        "detail": [(1, 2, 3, DETAIL_UPSAMPLE * h, DETAIL_UPSAMPLE * w) for h, w in sides],
    }


class _Build:
    """One builder and its settings, for both graphs."""

    def __init__(
        self,
        trt: Any,
        targets: Sequence[str],
        limits: Limits,
        workspace: int | None,
        cache: bytes,
        plugins: Path | None,
    ) -> None:
        self.trt, self.targets, self.limits, self.workspace, self.cache = trt, targets, limits, workspace, cache
        self.messages: list[str] = []
        self.logger = self._logger()
        if plugins is not None:
            library.load(trt, plugins)

    def _logger(self) -> Any:
        trt, messages = self.trt, self.messages

        base: Any = trt.ILogger

        class Logger(base):
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity <= trt.ILogger.ERROR:
                    messages.append(message)

        return Logger()

    def run(self, graph: str, path: Path) -> bytes:
        trt = self.trt
        builder = trt.Builder(self.logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse_from_file(str(path)):
            self._fail(f"the parser refuses the {graph}")
        config = builder.create_builder_config()
        if self.workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.workspace)
        if self.targets:
            config.num_compute_capabilities = len(self.targets)
            for i, target in enumerate(self.targets):
                config.set_compute_capability(getattr(trt.ComputeCapability, target), i)
        else:
            config.set_timing_cache(config.create_timing_cache(self.cache), ignore_mismatch=False)
        profile = builder.create_optimization_profile()
        inputs = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
        shapes = _shapes(self.limits, inputs["maps"].shape[3] if "maps" in inputs else 0)
        values = {"size": self.limits.outputs, "lr_size": self.limits.frames}
        for name, tensor in inputs.items():
            if name in shapes:
                profile.set_shape(name, *shapes[name])
            if tensor.is_shape_tensor:
                profile.set_shape_input(name, *values[name])
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            self._fail(f"no engine of the {graph} can be built")
        if not self.targets:
            self.cache = bytes(config.get_timing_cache().serialize())
        return bytes(plan)

    def _fail(self, what: str) -> None:
        cause = " ".join(self.messages[-1].split()) if self.messages else "no reason given"
        raise VinrError(f"{what}: {cause}")


def _profile(profile: str | None, ahead: bool, with_library: bool) -> str:
    """The profile to build, which the builder has a default for. Raises UsageError."""
    chosen = profile or ("portable" if ahead else "plugin")
    if chosen not in PROFILES:
        raise UsageError(f"--profile must be one of {', '.join(PROFILES)}, got {chosen!r}")
    if ahead and chosen == "plugin":
        raise UsageError("--profile plugin is for tensorrt; tensorrt-rtx takes no plugins")
    if chosen == "portable" and with_library:
        raise UsageError("--plugin-library is for the plugin profile")
    return chosen


def to_tensorrt(
    model: Network,
    destination: str | os.PathLike[str],
    *,
    builder: str | None = None,
    targets: Sequence[str] = (),
    dtype: str = "float16",
    limits: Limits | None = None,
    profile: str | None = None,
    workspace: int | None = None,
    timing_cache: str | os.PathLike[str] | None = None,
    plugin_library: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    note: Callable[[str], None] | None = None,
) -> Files:
    """Build engines of both graphs of `model`, and write them with a report of the build.

    Args:
        destination: NAME.engine, for NAME.encoder.engine, NAME.query.engine and NAME.json.
        builder: "tensorrt", for the GPU at hand; "tensorrt-rtx", ahead of time; None for the first that is installed.
        targets: GPUs that TensorRT-RTX builds for, of TARGETS; all of them if empty. TensorRT takes none.
        dtype: "float32" or "float16", as in `to_onnx`; TensorRT keeps to the graph's types.
        limits: sizes that the engines serve.
        profile: "plugin" or "portable", as in `to_onnx`; None for "plugin" with "tensorrt", "portable" with
            "tensorrt-rtx", which knows no other.
        workspace: bytes of GPU memory that a tactic may take; None leaves it to the builder.
        timing_cache: file that TensorRT's measurements are read from and written to; only with "tensorrt".
        plugin_library: what export/tensorrt builds, for the plugin profile; None for the one that the variable
            VINR_TENSORRT_PLUGINS names.
        note: gets a line for each step.

    Raises:
        UsageError: a network that cannot be exported, an option out of its range, a builder that is not installed, a
            file that exists.
        VinrError: the builder refuses a graph, or a file cannot be written.
    """
    from vinr_engine.export.metadata import exportable
    from vinr_engine.export.onnx.model import to_onnx

    network = exportable(model)
    if not isinstance(network, VideoINR):
        raise UsageError(f"engines are built of a VideoINR alone; a {type(network).__name__} goes as far as ONNX")
    engines, limits, say = paths(destination), limits or Limits(), note or (lambda text: None)
    unknown = [t for t in targets if t not in TARGETS]
    if unknown:
        raise UsageError(f"--gpu must be of {', '.join(TARGETS)}, got {', '.join(unknown)}")
    if dtype not in DTYPES:
        raise UsageError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if workspace is not None and workspace < 1:
        raise UsageError(f"--workspace must be positive, got {workspace}")
    name, module = runtime_module(builder, targets)
    ahead = name == "tensorrt-rtx"
    profile = _profile(profile, ahead, plugin_library is not None)
    if ahead and timing_cache is not None:
        raise UsageError("--timing-cache is for tensorrt; tensorrt-rtx has none")
    if not ahead and targets:
        raise UsageError("--gpu is for tensorrt-rtx; tensorrt builds for the GPU at hand")
    for path in asdict(engines).values():
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists: choose another name, or --overwrite")
    files.check_writable(engines.encoder.parent)
    cache_path = None if timing_cache is None else Path(timing_cache)
    cache = b"" if cache_path is None else _cached(cache_path)
    chosen = (tuple(targets) or TARGETS) if ahead else ()
    plugins = library.find(plugin_library) if profile == "plugin" else None
    build = _Build(module, chosen, limits, workspace, cache, plugins)
    graphs: dict[str, dict[str, Any]] = {}
    plans: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        say("exporting the graphs")
        pair = to_onnx(network, folder, profile=profile, dtype=dtype, frame_upsample=FRAME_UPSAMPLE, layers="whole")
        for graph, path in (("query", pair.query), ("encoder", pair.encoder)):
            say(f"building the {graph}")
            began = time.monotonic()
            plan = plans[graph] = build.run(graph, path)
            seconds = round(time.monotonic() - began, 1)
            graphs[graph] = {"bytes": len(plan), "seconds": seconds, "sha256": fingerprint(plan)}
    report = Report(
        version=__version__, builder=f"{name} {module.__version__}", targets=chosen, dtype=dtype, limits=limits,
        workspace=workspace, config=network.config, frame_upsample=FRAME_UPSAMPLE, profile=profile, graphs=graphs,
    )  # fmt: skip
    files.make_folder(engines.encoder.parent)
    with ExitStack() as all_or_none:
        plans["report"] = report.to_json().encode()
        for name, path in asdict(engines).items():
            all_or_none.enter_context(files.reported(path))
            all_or_none.enter_context(files.draft(path)).write_bytes(plans[name])
    if cache_path is not None:
        with files.reported(cache_path), files.draft(cache_path) as new:
            new.write_bytes(build.cache)
    return engines


def _cached(path: Path) -> bytes:
    """What an earlier build left there, if any. UsageError where it cannot be read, or not be written later."""
    files.check_writable(path.parent)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(f"--timing-cache {path}: {reason(error)}") from None

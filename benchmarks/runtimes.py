"""The center network on the CPU: PyTorch's number formats and memory layouts beside ONNX Runtime and OpenVINO.

    python benchmarks/runtimes.py [--size 704] [--rounds 7] [--threads 1] [--weights default] [--real FOLDER]

Timed is the trunk, all convolutions, the attention at stride 16 and the dense head, on one image of size x size px: a
micrograph of 4096 px with particles of 150 Å at 1.06 Å per pixel. Queries and decoder depend on the peaks and stay in
PyTorch; the last lines are the whole network. The runtimes get a fixed image size, which favours them. Variants take
turns; CPU seconds count, the least of all rounds. `heat` is the largest difference of the map's logits from float32.

With --real, a folder as for accuracy.py, the F1 of the picker in float32 and in bfloat16 follow. A runtime that cannot
be imported is skipped.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.network import CenterDETR, fold_batch_norms
from cryotx_cli.detector.center.picker import Picker
from gpu_parts.number_formats import Context, formats
from machine import describe_machine

Run = Callable[[], np.ndarray]


class Trunk(nn.Module):
    """From the image to the five channels of the dense head."""

    def __init__(self, model: CenterDETR) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Return (batch, 5, height / 4, width / 4)."""
        maps: Tensor = self.model.dense_head(self.model.features(image)[0])
        return maps


def torch_variants(trunk: Trunk, image: Tensor) -> Iterator[tuple[str, Run]]:
    layouts = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
    for layout, memory in layouts.items():
        for name, context in formats("cpu").items():
            yield f"torch {name}, {layout}", torch_run(trunk, image, memory, context)


def torch_run(network: nn.Module, image: Tensor, memory: torch.memory_format, context: Context) -> Run:
    def run() -> np.ndarray:
        network.to(memory_format=memory)
        with torch.inference_mode(), context():
            found = network(image.contiguous(memory_format=memory))
        return (found if isinstance(found, Tensor) else found.final.logits).float().numpy()

    return run


def write_onnx(trunk: Trunk, image: Tensor, folder: str) -> Path:
    path = Path(folder) / "trunk.onnx"
    trunk.to(memory_format=torch.contiguous_format)
    torch.onnx.export(trunk, (image,), path, input_names=["image"], opset_version=17, dynamo=False)
    return path


def onnx_runtime(trunk: Trunk, image: Tensor, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as name:
        path = write_onnx(trunk, image, name)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    array = image.numpy()
    return lambda: session.run(None, {"image": array})[0]


def open_vino(trunk: Trunk, image: Tensor, threads: int, precision: str) -> Run:
    import openvino

    with tempfile.TemporaryDirectory() as name:
        path = write_onnx(trunk, image, name)
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        compiled = openvino.Core().compile_model(openvino.Core().read_model(path), "CPU", settings)
    array = image.numpy()
    return lambda: compiled([array])[0]


def runtime_variants(trunk: Trunk, image: Tensor, threads: int) -> Iterator[tuple[str, Run]]:
    if installed("onnxruntime", "onnx"):
        yield "ONNX Runtime", onnx_runtime(trunk, image, threads)
    if installed("openvino", "onnx"):
        yield "OpenVINO, float32", open_vino(trunk, image, threads, "f32")
        yield "OpenVINO, bfloat16", open_vino(trunk, image, threads, "bf16")


def installed(*packages: str) -> bool:
    try:
        for package in packages:
            print(f"          {package} {importlib.import_module(package).__version__}")
    except ImportError as error:
        print(f"          {error}: skipped")
        return False
    return True


def time_all(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """CPU seconds of one run each, the least of several rounds in which all take turns; the first is not counted."""
    least = dict.fromkeys(runs, float("inf"))
    for turn in range(rounds + 1):
        for name, run in runs.items():
            started = time.process_time()
            run()
            if turn:
                least[name] = min(least[name], time.process_time() - started)
    return least


def compare_accuracy(arguments: argparse.Namespace) -> None:
    from accuracy import measure, read_set

    checkpoint = load_checkpoint(arguments.weights)
    for name, info in json.loads((arguments.real / "datasets.json").read_text()).items():
        if (arguments.real / name).is_dir() and (not arguments.sets or name in arguments.sets):
            data = read_set(arguments.real / name, info)
            known = info["diameter_px"] * info["pixel_size"]
            for label, context in formats("cpu").items():
                with context():
                    numbers = measure(Picker(checkpoint), data, known, info["diameter_px"] / 2)
                print(f"{name:8}{label:>10}" + "".join(f"  {key} {numbers[key]:.4f}" for key in ("F1", "best", "AP")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=704, help="a multiple of 16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--real", type=Path, help="folder of labelled data sets")
    parser.add_argument("--sets", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{describe_machine('torch', 'numpy')}; {arguments.threads} threads")
    if arguments.real:
        compare_accuracy(arguments)
        return
    checkpoint = load_checkpoint(arguments.weights)
    model = CenterDETR(checkpoint.model)  # with convolutions that all runtimes know
    model.load_state_dict(checkpoint.weights)
    fold_batch_norms(model.eval())
    trunk = Trunk(model).eval()
    image = torch.randn(1, 1, arguments.size, arguments.size, generator=torch.Generator().manual_seed(0))
    runs = {**dict(torch_variants(trunk, image)), **dict(runtime_variants(trunk, image, arguments.threads))}
    truth = runs["torch float32, contiguous"]()
    difference = {name: float(np.abs(run() - truth)[0, 0].max()) for name, run in runs.items()}
    least = time_all(runs, arguments.rounds)
    shipped = least["torch float32, channels last"]
    print(f"\n{'CPU s a run':32}{'least':>8}{'gain':>7}{'heat':>9}")
    for name, seconds in least.items():
        print(f"{name:32}{seconds:8.3f}{shipped / seconds:7.2f}{difference[name]:9.4f}")
    shipped_model = Picker(checkpoint).model
    with torch.inference_mode():
        whole = time_all(
            {"whole": lambda: shipped_model(image.contiguous(memory_format=torch.channels_last))}, arguments.rounds
        )
    print(f"{'whole network, as shipped':32}{whole['whole']:8.3f}")


if __name__ == "__main__":
    main()

"""Change a module of src in one small place after the other and count how many changes its own fast tests notice.

    python tests/mutants.py micrographs/mrc.py        # its changes, 150 at most, two at a time
    python tests/mutants.py --list                    # the modules, and the tests that each is put to

The changes are Cosmic Ray's. No file is written: the tests are collected once, and a fork of the process for each
change swaps the code of the function that holds it and runs the tests that call this function. What lies outside
functions is imported anew. What is printed as unnoticed needs a test, or a line in `equivalent_mutants.toml` that says
why it makes no difference to anyone; those do not count.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import gc
import importlib
import importlib.abc
import importlib.machinery
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import pytest

TESTS = Path(__file__).resolve().parent
SRC = TESTS.parent / "src" / "cryotx_cli"
EQUIVALENT = TESTS / "equivalent_mutants.toml"
HEAVY = ("cv2", "hypothesis", "mrcfile", "scipy.optimize", "scipy.spatial", "torch", "torchvision", "transformers")

_FORMATS = ("coordinates/formats", "workflows/test_convert.py", "hostile/test_odd_files.py")
_PARTICLES = ("coordinates/test_particles.py", "coordinates/test_agreement.py", "coordinates/formats")
_TILES = ("micrographs/test_tiling.py", "detector/test_detections.py", "detector/center/test_picker.py")
TESTS_OF = {
    "runs/selection.py": ("runs/test_selection.py", "runs/test_settled.py", "workflows/test_threshold.py"),
    "runs/expected_f1.py": ("runs/test_selection.py",),
    "coordinates/particles.py": _PARTICLES,
    "coordinates/agreement.py": ("coordinates/test_agreement.py", "coordinates/test_coco_agreement.py"),
    **{f"coordinates/formats/{path.name}": _FORMATS for path in sorted(SRC.glob("coordinates/formats/[!_]*.py"))},
    "micrographs/mrc.py": ("micrographs/test_mrc.py", "micrographs/test_micrograph.py", "hostile/test_odd_files.py"),
    "micrographs/tiling.py": _TILES,
    "detector/detections.py": _TILES,
    "detector/center/picker.py": ("detector/center/test_picker.py", "detector/test_detections.py"),
    "detector/size_sweep.py": ("detector/test_size_sweep.py",),
    "runs/false_discovery.py": ("runs/test_false_discovery.py",),
    "micrographs/decoy.py": ("micrographs/test_decoy.py",),
    "training/cryotransformer/matcher.py": (
        "training/cryotransformer/test_matcher.py",
        "training/cryotransformer/test_loss.py",
    ),
    "training/cryotransformer/loss.py": ("training/cryotransformer/test_loss.py",),
    "training/center/loss.py": ("training/center/test_loss.py",),
}

# One step to the side for each kind of place, as a slip would make it: `%` for `+` fails too loudly to tell anything.
_ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul")
_BITS = ("BitAnd_BitOr", "BitOr_BitAnd", "LShift_RShift", "RShift_LShift")
_ORDER = ("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")
_IDENTITY = ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")
OPERATORS = (
    *(f"core/ReplaceBinaryOperator_{slip}" for slip in (*_ARITHMETIC, *_BITS)),
    *(f"core/ReplaceComparisonOperator_{slip}" for slip in (*_ORDER, *_IDENTITY)),
    *(f"core/ReplaceUnaryOperator_Delete_{sign}" for sign in ("USub", "Invert", "Not")),
    *("core/AddNot", "core/ReplaceTrueWithFalse", "core/ReplaceFalseWithTrue", "core/ReplaceAndWithOr"),
    *("core/ReplaceOrWithAnd", "core/ReplaceBreakWithContinue", "core/ReplaceContinueWithBreak"),
    *("core/NumberReplacer", "core/ZeroIterationForLoop"),
)


# --- the changes -----------------------------------------------------------------------------------------------------


class Mutant(NamedTuple):
    """A module with one line changed."""

    number: int
    line: str
    became: str
    source: str

    def __str__(self) -> str:
        return f"line {self.number}\n    - {self.line}\n    + {self.became}"


def mutants(source: str) -> list[Mutant]:
    """Return every change of a module's code, in the order of its lines; annotations are no code."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    tree, before, found = get_ast(source), _without_annotations(source), {}
    for name in OPERATORS:
        operator = get_operator(name)()
        places = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(tree))
        for place in range(places):
            changed = mutate_code(source, operator, place)
            with contextlib.suppress(SyntaxError):  # `not name := value`
                if changed and _without_annotations(changed) != before:
                    found[changed] = _mutant(source, changed)
    return sorted(found.values())


def _without_annotations(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if isinstance(getattr(node, field, None), ast.expr):
                setattr(node, field, ast.Constant(None))
    return ast.dump(tree)


def _mutant(source: str, changed: str) -> Mutant:
    lines, others = source.splitlines(), changed.splitlines()
    codes = difflib.SequenceMatcher(None, lines, others, autojunk=False).get_opcodes()
    _, i1, i2, j1, j2 = next(code for code in codes if code[0] != "equal")
    return Mutant(i1 + 1, " ".join(map(str.strip, lines[i1:i2])), " ".join(map(str.strip, others[j1:j2])), changed)


def _equivalent(module: str, anywhere: bool = True) -> list[tuple[str, str]]:
    """Return (text, what it becomes) of the changes that make no difference."""
    table = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    entries = [entry for name in (*["anywhere"] * anywhere, module) for entry in table.get(name, [])]
    return [(entry["was"], becomes) for entry in entries for becomes in entry["becomes"]]


def _is(mutant: Mutant, was: str, becomes: str) -> bool:
    """Whether a change is that of one text into another."""
    parts = mutant.line.split(was)
    tries = (was.join(parts[:i]) + becomes + was.join(parts[i:]) for i in range(1, len(parts)))
    return "".join(mutant.became.split()) in ("".join(text.split()) for text in tries)


# --- where a change lies ---------------------------------------------------------------------------------------------


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Return functions and methods, not what is defined within them."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from [constant] if constant.co_flags & 1 else _functions(constant)


def _outside(code: CodeType) -> list[object]:
    """Return what a module or class does by itself."""
    inner = [_outside(c) if isinstance(c, CodeType) and not c.co_flags & 1 else None for c in code.co_consts]
    plain = [repr(c) for c in code.co_consts if not isinstance(c, CodeType)]
    return [code.co_code, code.co_names, plain, inner]


def _changed_function(module: str, source: str, mutant: Mutant) -> CodeType | None:
    """Return the new code of the one function that a change lies in, if it lies in one."""
    before, after = (compile(text, SRC / module, "exec") for text in (source, mutant.source))
    different = [new for old, new in zip(_functions(before), _functions(after), strict=True) if old != new]
    return different[0] if len(different) == 1 and _outside(before) == _outside(after) else None


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


# --- trying ----------------------------------------------------------------------------------------------------------


def _in_forks(tasks: Iterable[Callable[[Path], int]], jobs: int, seconds: float) -> Iterator[tuple[int, int]]:
    """Run each task in a fork, with a folder; yield (its number, exit status), the CPU time being limited."""
    running: dict[int, tuple[int, Path]] = {}

    def ended() -> tuple[int, int]:
        child, status = os.wait()
        number, folder = running.pop(child)
        shutil.rmtree(folder, ignore_errors=True)
        return number, status

    for number, task in enumerate(tasks):
        if len(running) == jobs:
            yield ended()
        folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        child = os.fork()
        if not child:
            status = 1
            try:
                limit = int(seconds + 1)
                resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
                nothing = os.open(os.devnull, os.O_RDWR)
                for stream in range(3):
                    os.dup2(nothing, stream)
                status = task(folder)
            finally:
                os._exit(status)
        running[child] = number, folder
    while running:
        yield ended()


class _Hook(importlib.machinery.SourceFileLoader, importlib.abc.MetaPathFinder):
    """Imports one module from text."""

    def __init__(self, module: str, source: str) -> None:
        super().__init__("cryotx_cli." + module.removesuffix(".py").replace("/", "."), str(SRC / module))
        self.source = source

    def find_spec(self, fullname: str, path: object, target: object = None) -> Any:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def get_code(self, fullname: str) -> Any:
        return compile(self.source, self.path, "exec")


class _Trial:
    """A pytest plugin that, instead of running the tests, runs them for each of the changes inside functions."""

    def __init__(self, module: str, tried: list[tuple[Mutant, CodeType]], jobs: int) -> None:
        self.module, self.tried, self.jobs = module, tried, jobs
        self.survivors: list[Mutant] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        path = str(SRC / self.module)
        live = [f for f in gc.get_objects() if isinstance(f, FunctionType) and f.__code__.co_filename == path]
        gc.freeze()  # or collecting garbage copies all memory into each fork
        callers = self._callers(session, path)
        order = sorted(session.items, key=lambda item: callers[item.nodeid][0])

        def task(code: CodeType) -> Callable[[Path], int]:
            def run(folder: Path) -> int:
                for function in live:
                    if _place(function.__code__) == _place(code):
                        function.__code__ = code
                return _run(session, [i for i in order if _place(code) in callers[i.nodeid][1]], folder)

            return run

        seconds = 20 + 10 * sum(spent for spent, _ in callers.values())
        tasks = (task(code) for _, code in self.tried)
        self.survivors = [
            self.tried[number][0] for number, status in _in_forks(tasks, self.jobs, seconds) if not status
        ]
        return True

    def _callers(self, session: pytest.Session, path: str) -> dict[str, tuple[float, set[tuple[str, int]]]]:
        """Run all tests as the module is; return the seconds each takes and the functions it calls."""
        with tempfile.NamedTemporaryFile() as answer:

            def task(folder: Path) -> int:
                found = {}
                for item in session.items:
                    called: set[tuple[str, int]] = set()

                    def note(frame: FrameType, *_: object, called: set[tuple[str, int]] = called) -> None:
                        if frame.f_code.co_filename == path:
                            called.add(_place(frame.f_code))

                    start = time.process_time()
                    threading.settrace(note)
                    sys.settrace(note)
                    if _run(session, [item], folder):
                        return 1
                    sys.settrace(None)
                    found[item.nodeid] = time.process_time() - start, called
                Path(answer.name).write_bytes(pickle.dumps(found))
                return 0

            ((_, status),) = _in_forks([task], 1, 3600)
            if status:
                raise pytest.UsageError(f"the tests of {self.module} fail as it is")
            found: dict[str, tuple[float, set[tuple[str, int]]]] = pickle.loads(Path(answer.name).read_bytes())
            return found


def _run(session: pytest.Session, items: list[pytest.Item], folder: Path) -> int:
    """Run tests of a session until one fails; return whether one did."""
    session.config._tmp_path_factory._basetemp = folder
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


def _pytest(module: str, plugins: list[object]) -> int:
    files = [str(TESTS / test) for test in TESTS_OF[module] if (TESTS / test).exists()]
    options = ["-x", "-q", "-s", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    return int(pytest.main([*options, *files], plugins=plugins))


def _survivors(module: str, source: str, tried: list[Mutant], jobs: int) -> list[Mutant]:
    placed = [(mutant, _changed_function(module, source, mutant)) for mutant in tried]
    outside = [mutant for mutant, code in placed if code is None]

    def task(mutant: Mutant) -> Callable[[Path], int]:
        def run(folder: Path) -> int:
            sys.meta_path.insert(0, _Hook(module, mutant.source))
            return _pytest(module, [])

        return run

    answers = _in_forks((task(mutant) for mutant in outside), jobs, 300)
    survivors = [outside[number] for number, status in answers if not status]
    with tempfile.NamedTemporaryFile() as answer:

        def inside(folder: Path) -> int:
            trial = _Trial(module, [(mutant, code) for mutant, code in placed if code is not None], jobs)
            status = _pytest(module, [trial])
            Path(answer.name).write_bytes(pickle.dumps(trial.survivors))
            return status

        # In a fork, too: the next module has to be imported anew.
        child = os.fork()
        if not child:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
            os._exit(inside(Path()) if len(outside) < len(tried) else 0)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"{module}: its tests fail as it is, or none was collected")
        content = Path(answer.name).read_bytes()
    return sorted(survivors + (pickle.loads(content) if content else []))


def score(module: str, most: int, seed: int, jobs: int, only: str) -> Iterator[str]:
    """Try the changes of a module; return the lines to print."""
    source, equivalent = (SRC / module).read_text(encoding="utf-8"), _equivalent(module)
    every = mutants(source)
    stale = [pair for pair in _equivalent(module, anywhere=False) if not any(_is(m, *pair) for m in every)]
    yield from (f"{EQUIVALENT.name} lists what is not tried in {module}: {was} -> {becomes}" for was, becomes in stale)
    counted = [m for m in every if not any(_is(m, *pair) for pair in equivalent)]
    kept = [m for m in counted if only in m.line]
    tried = sorted(random.Random(seed).sample(kept, min(most, len(kept))))
    survivors = _survivors(module, source, tried, jobs)
    yield from (f"{module} {mutant}" for mutant in survivors)
    sample = "" if len(tried) == len(kept) else f" (a sample of {len(kept)}, seed {seed})"
    noticed = len(tried) - len(survivors)
    yield (
        f"{module}: {noticed} of {len(tried)} changes noticed{sample}: {noticed / max(len(tried), 1):.2f}; "
        f"{len(every) - len(counted)} are equivalent"
    )


def main() -> None:
    """Score the modules that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="below src/cryotx_cli")
    parser.add_argument("--list", action="store_true", help="print the modules and the tests of each")
    parser.add_argument("--most", type=int, default=150, help="try a sample of at most so many changes (default: 150)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="changes tried at a time (default: 2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="changes of lines that hold this text")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{module}: {' '.join(tests)}" for module, tests in TESTS_OF.items()))
    if options.modules:
        for name in HEAVY:
            importlib.import_module(name)
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)  # a failing example does not have to be a small one
        settings.register_profile("mutants", database=None, deadline=None, phases=phases)
        settings.load_profile("mutants")
        os.chdir(TESTS.parent)
    for module in options.modules:
        for line in score(module, options.most, options.seed, options.jobs, options.only):
            print(line, flush=True)


if __name__ == "__main__":
    main()

"""Every parser of a peer's bytes, fuzzed: a short run of the build as it is, a long one of a build with sanitisers.

The short run mutates `corpus/` by a seed, which a failure names. The long one is libFuzzer's, guided by the coverage of the
kernels, behind AddressSanitizer and UndefinedBehaviorSanitizer, with each object in an allocation of its own, so that a read
past an input's end is seen. It needs clang with its runtime (Debian: `clang-16 libclang-rt-16-dev`) and atheris.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.run import CORPUS, corpus_of, last_input
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
KERNELS = "http1,sse,jsonscan,chat,usage,answer,cachekey"
SANITISERS = (
    "-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined "
    "-fno-sanitize=function,pointer-overflow"  # of Cython's own code, which adds nothing to null
)
FEW = 40_000
MANY = int(os.environ.get("THROUGHWAY_FUZZ_INPUTS", "10000000"))


def fuzz(target: str, count: int, seed: int, directory: Path, environment: dict[str, str] | None = None) -> None:
    now = directory / "input"
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", target, str(seed), str(count), str(now)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stderr[-6_000:]
    assert done.returncode == 0 and "runtime error" not in said, f"{target}, seed {seed}: {last_input(now)!r}\n{said}"
    read, accepted = map(int, done.stdout.split())
    assert read == count
    assert count / 100 < accepted < count, "the inputs are all alike"


def test_there_is_a_corpus_for_each_target_and_some_of_it_is_accepted() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == TARGETS.keys()
    for name, read in TARGETS.items():
        verdicts = [read(data, len(data)) for data in corpus_of(name)]
        assert len(verdicts) >= 18 and 3 <= sum(verdicts) < len(verdicts), name


@pytest.mark.parametrize("target", TARGETS)
def test_some_inputs(target: str, tmp_path: Path) -> None:
    """Whatever Python's own debugging allocator finds overwritten ends it, too."""
    fuzz(target, FEW, 1, tmp_path, {"PYTHONMALLOC": "debug"})


def _clang() -> str | None:
    return next(
        filter(None, (shutil.which(name) for name in ("clang", *(f"clang-{n}" for n in range(22, 13, -1))))), None
    )


@pytest.fixture(scope="module")
def sanitised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an interpreter whose kernels are built with sanitisers, and which libFuzzer can drive."""
    clang, atheris = _clang(), importlib.util.find_spec("atheris")
    if clang is None or atheris is None or atheris.origin is None:
        pytest.skip("clang or atheris is missing")
    folder = tmp_path_factory.mktemp("sanitised")
    build = {
        "CC": clang,
        "LDSHARED": f"{clang} -shared",
        "CFLAGS": f"{SANITISERS} -fno-omit-frame-pointer -Wno-unknown-warning-option",
        "THROUGHWAY_KERNELS": KERNELS,
        "THROUGHWAY_CYTHON_DIR": str(folder / "cython"),
    }
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", folder / "lib", "--build-temp", folder / "temp"],
        cwd=ROOT,
        env={**os.environ, **build},
        check=True,
        capture_output=True,
    )
    others = f"__path__.append({str(ROOT / 'src' / '_fastpath')!r})  # kernels that are not fuzzed, as they are\n"
    (folder / "lib" / "_fastpath" / "__init__.py").write_text(others)
    return {
        "PYTHONPATH": str(folder / "lib"),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": str(Path(atheris.origin).parents[1] / "asan_with_fuzzer.so"),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_the_sanitiser_is_awake(sanitised: dict[str, str]) -> None:
    """A read past the end of bytes is seen, and the kernels are those of the build."""
    past_the_end = "import ctypes; b = bytes(100); ctypes.memmove(ctypes.create_string_buffer(300), b, 200)"
    for code, status in ((past_the_end, -6), ("import _fastpath.http1 as k; print(k.__file__)", 0)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **sanitised},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert ("heap-buffer-overflow" in done.stderr) == (status != 0)
        assert status != 0 or done.stdout.startswith(sanitised["PYTHONPATH"])


@pytest.mark.nightly
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("target", TARGETS)
def test_ten_million_inputs_with_sanitisers(target: str, sanitised: dict[str, str], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    options = [f"-runs={MANY}", f"-artifact_prefix={tmp_path}/", "-print_final_stats=1", "-verbosity=1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", target, str(kept), *options],
        cwd=ROOT,
        env={**os.environ, **sanitised},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stderr[-6_000:]
    assert done.returncode == 0, f"{target}: {[file.read_bytes() for file in tmp_path.glob('*-*')]}\n{said}"
    counted = re.search(r"stat::number_of_executed_units: (\d+)", said)
    assert counted is not None and int(counted[1]) >= MANY
    assert len(list(kept.iterdir())) > 2 * len(corpus_of(target)), "nothing guides it"

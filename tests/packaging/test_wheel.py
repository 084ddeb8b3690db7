"""What is shipped: a wheel that holds all that runs, nothing made on the way, and works where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from gateway import __version__

ROOT = Path(__file__).parents[2]
TREE = ("src", "vocabularies", "bench", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "NOTICE")
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))
KERNELS = sorted(path.stem for path in (ROOT / "src/_fastpath").glob("*.pyx"))
COMPILED = sorted(str(path.relative_to(ROOT / "src").with_suffix("")) for path in (ROOT / "src/gateway").rglob("*.pxd"))
# The build is judged, not the speed of what it makes: without optimisation it takes a third of the time.
ENVIRONMENT = {**os.environ, "THROUGHWAY_DEBUG": "1", "PYTHONPATH": ""}

pytestmark = pytest.mark.timeout(300)


def python(*arguments: str | Path, cwd: Path, executable: str | Path = sys.executable, **environment: str) -> str:
    """What a Python prints; a failure shows all that it said."""
    command = [str(word) for word in (executable, *arguments)]
    environ = {**ENVIRONMENT, **environment}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that a build leaves nothing in the working tree."""
    tree = tmp_path_factory.mktemp("tree")
    leave_out = shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.egg-info", "*.html", "*.bin")
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=leave_out)
        else:
            shutil.copy2(ROOT / name, tree / name)
    return tree


def add_what_is_built(tree: Path) -> None:
    """What a build would make and the working tree has made already: C and compiled modules that are newer than their sources, and
    the vocabularies, are not made again."""
    lib = tree / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    built = [*(ROOT / "src").rglob(f"*{SUFFIX}"), ROOT / "src/_fastpath/vocabularies.bin"]
    copies = {file: lib / file.relative_to(ROOT / "src") for file in built}
    copies |= {file: tree / file.relative_to(ROOT) for file in (ROOT / "build/cython").rglob("*.c")}
    for file, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what the working tree has built, where that is of these sources; the source distribution's test builds all of it."""
    out = tmp_path_factory.mktemp("wheel")
    add_what_is_built(tree)
    options = ("--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir")
    python("-m", "pip", "wheel", *options, out, tree, cwd=out)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_claims_two_import_names(wheel: Path, names: set[str]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"_fastpath", "gateway"}
    with zipfile.ZipFile(wheel) as archive:
        (top_level,) = [name for name in names if name.endswith("top_level.txt")]
        assert set(archive.read(top_level).decode().split()) == {"_fastpath", "gateway"}


def test_the_wheel_holds_each_kernel_with_its_types_and_no_source_in_c(names: set[str]) -> None:
    for kernel in KERNELS:
        assert {f"_fastpath/{kernel}{SUFFIX}", f"_fastpath/{kernel}.pyi"} <= names
    for typed in COMPILED:
        assert f"{typed}{SUFFIX}" in names
    assert not [name for name in names if name.endswith((".c", ".pyx", ".html"))]
    assert {"_fastpath/py.typed", "gateway/py.typed"} <= names


def test_the_wheel_holds_the_vocabularies_but_not_what_made_them(names: set[str]) -> None:
    assert [name for name in names if "vocabular" in name] == ["_fastpath/vocabularies.bin"]


def test_the_wheel_holds_every_module_and_data_file(names: set[str]) -> None:
    kinds = (".py", ".pxd", ".pyi", ".typed", ".json", ".yaml", ".sql", ".html", ".css", ".js")
    sources = (path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*") if path.suffix in kinds)
    wanted = {str(path) for path in sources if path.parts[0] in {"gateway", "_fastpath"}}
    assert wanted <= names


def test_the_wheel_carries_its_licence_and_those_of_what_it_holds(names: set[str]) -> None:
    for name in ("LICENSE", "NOTICE"):
        assert any(each.endswith(f".dist-info/licenses/{name}") for each in names)


def test_the_wheel_runs_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    home = tmp_path / "venv" / "bin"
    options = ("--quiet", "--no-deps", "--no-index")
    python("-m", "pip", "--python", home / "python", "install", *options, wheel, cwd=tmp_path)
    # The dependencies are those of the running environment, behind the installed package on the path.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    said = python(home / "throughway", "version", cwd=tmp_path, executable=home / "python")
    assert __version__ in said
    where = python(
        "-c",
        "import gateway, _fastpath; print(gateway.__file__, _fastpath.__file__)",
        cwd=tmp_path,
        executable=home / "python",
    )
    assert all(path.startswith(str(tmp_path)) for path in where.split())
    for kernel in KERNELS:
        python("-c", f"import _fastpath.{kernel}", cwd=tmp_path, executable=home / "python")
    counting = "from _fastpath import tokens; print([tokens.count('Hello, world', name) for name in tokens.ENCODINGS])"
    assert python("-c", counting, cwd=tmp_path, executable=home / "python") == "[3, 3, 3]\n"


@pytest.mark.nightly
def test_a_source_distribution_makes_the_same_wheel(tree: Path, names: set[str], tmp_path: Path) -> None:
    build = "from setuptools import build_meta; print(build_meta.build_sdist(OUT))".replace("OUT", repr(str(tmp_path)))
    python("-c", build, cwd=tree)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getnames()
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert not [name for name in members if name.endswith((".c", ".so", ".bin"))]
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    out = tmp_path / "wheel"
    python(
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--wheel-dir",
        out,
        unpacked,
        cwd=tmp_path,
    )
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == names

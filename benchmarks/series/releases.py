"""Release tarballs of two npm packages, as uncompressed tar, oldest first.

Real data that nobody made for a benchmark: a compiler in a few large files and
a framework's library in many. `npm pack` fetches each release once into the
work folder; what is fetched there already needs no network.
"""

import gzip
import shutil
import subprocess

RELEASES = {
    "typescript": """5.0.2 5.0.3 5.0.4 5.1.3 5.1.5 5.1.6 5.2.2 5.3.2 5.3.3
        5.4.2 5.4.3 5.4.4 5.4.5 5.5.2 5.5.3 5.5.4 5.6.2 5.6.3 5.7.2 5.7.3
        5.8.2 5.8.3 5.9.2 5.9.3""".split(),
    "@angular/compiler": """20.3.0 20.3.1 20.3.2 20.3.3 20.3.4 20.3.5 20.3.6
        20.3.7 20.3.9 20.3.10 20.3.11 20.3.12 20.3.13 20.3.14 20.3.15 20.3.16
        20.3.17 20.3.18 20.3.19 20.3.20 20.3.21 20.3.23 20.3.24
        20.3.25""".split(),
}


def plain_name(package):
    return package.removeprefix("@").replace("/", "-")


def _fetch(package, release, downloads):
    tarball = downloads / f"{plain_name(package)}-{release}.tgz"
    if not tarball.exists():
        if shutil.which("npm") is None:
            raise SystemExit("compare: tarballs need npm to fetch them")
        downloads.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"{package}@{release}"],
                       cwd=downloads, stdout=subprocess.DEVNULL, check=True)
    return tarball


def make(folder, downloads, scale):
    """Fills `folder` with PACKAGE-NN.tar; a small scale takes fewer releases."""
    for package, releases in RELEASES.items():
        wanted = max(2, round(len(releases) * scale))
        for number, release in enumerate(releases[:wanted], 1):
            tarball = _fetch(package, release, downloads)
            plain = folder / f"{plain_name(package)}-{number:02}.tar"
            with gzip.open(tarball) as packed, open(plain, "wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)

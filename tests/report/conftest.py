"""A report of data annotated by hand, and a browser without a screen."""

import shutil

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from report_page import make_annotated

from basisvae_scvi.report import write_report


@pytest.fixture
def annotated():
    """The function that makes data by hand."""
    return make_annotated


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Annotated data, and the path of its report."""
    adata = make_annotated()
    path = tmp_path_factory.mktemp("report") / "report.html"
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    write_report(adata, path, color="stage")
    plt.switch_backend(backend)
    return adata, path


@pytest.fixture(autouse=True)
def no_screen():
    """Draw into memory, and insist that no figure stays open and no setting was changed."""
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    before, figures = dict(mpl.rcParams), plt.get_fignums()  # of other tests
    yield
    assert plt.get_fignums() == figures
    assert dict(mpl.rcParams) == before
    plt.switch_backend(backend)


@pytest.fixture
def no_figures(monkeypatch):
    """Leave the figures out, which take most of the time."""
    monkeypatch.setattr("basisvae_scvi.report._write.draw_figures", lambda *_, **__: [])


def _first_on_path(*names: str) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Headless Chromium whose downloads go to ``chromium.downloads``."""
    selenium = pytest.importorskip(
        "selenium", reason="needs selenium: pip install 'basisvae-scvi[browser]'"
    )
    binary = _first_on_path("chromium", "chromium-browser", "google-chrome")
    driver = _first_on_path("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium and chromedriver on PATH: apt-get install chromium-driver")
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = binary
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.add_argument("--window-size=1280,900")
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = selenium.webdriver.Chrome(options=options, service=Service(driver))
    started.downloads = downloads
    yield started
    started.quit()

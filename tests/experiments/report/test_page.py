"""The page as a browser shows it."""

import json
import shutil

import numpy as np
import pytest

from experiments.report import write_report
from jax_resnet import data
from tests.helpers.browser import PROGRAM, Browser

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium on the PATH (Debian's package: chromium)"
)

# Of each element that a selector finds: its size on the screen, text, and width of its own if an image.
MEASURE = """[...document.querySelectorAll(%s)].map(element => {
    const box = element.getBoundingClientRect()
    return {
        width: box.width, height: box.height, text: element.textContent.trim(),
        shown: element.checkVisibility({opacityProperty: true, visibilityProperty: true}),
        natural: element.naturalWidth, alt: element.alt, scope: element.scope,
    }
})"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser, finished, data_dir, tmp_path_factory):
    """The report on one run, open."""
    out = tmp_path_factory.mktemp("page")
    write_report([finished], out, data_dir=str(data_dir))
    browser.open(out / "report.html")
    return lambda selector: browser.evaluate(MEASURE % json.dumps(selector))


def visible(elements):
    return elements and all(e["shown"] and e["width"] > 0 and e["height"] > 0 for e in elements)


def predictions(run):
    with np.load(run / "predictions.npz") as arrays:
        return arrays["labels"], arrays["logits_best"]


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser, page):
    asked = [address for address in browser.requests() if not address.startswith("data:")]
    assert len(asked) == 1
    assert asked[0].endswith("/report.html")
    assert browser.complaints() == []
    assert browser.evaluate("document.documentElement.lang") == "en"


def test_the_table_stands_there_with_its_numbers(page, finished):
    summary = json.loads((finished / "summary.json").read_text())
    [row] = page(".results tbody tr")
    assert visible([row])
    for text in ("resnet8", f"{100 * summary['test_accuracy']:.2f}", "75,290", "scikit-learn's digits"):
        assert text in row["text"]
    assert all(cell["scope"] == "col" for cell in page("thead th"))
    assert all(cell["scope"] == "row" for cell in page("tbody th"))


def test_the_curves_are_drawn(browser, page):
    panels = page(".panels svg")
    assert len(panels) == 2
    assert visible(panels)
    assert all(panel["width"] > 300 and panel["height"] > 200 for panel in panels)
    assert "error (%)" in panels[0]["text"]
    assert "cross-entropy (nats" in panels[1]["text"]
    # Lines in the first run's color: training thin and dashed, validation bold.
    widths = browser.evaluate(
        """[...document.querySelectorAll(".panels svg")].map(svg => [...svg.querySelectorAll("path")]
        .filter(path => getComputedStyle(path).stroke === "rgb(0, 114, 178)"
            && path.getBBox().width > 100).map(path => getComputedStyle(path).strokeWidth))"""
    )
    for panel in widths:
        assert sorted(panel) == ["1.1px", "2.4px"]
    assert page(".legend li")[0]["text"] == "resnet8"


def test_the_confusion_adds_up(page, finished):
    labels, logits = predictions(finished)
    cells = page(".confusion tbody td")
    assert visible(cells)
    counts = np.array([int(cell["text"] or 0) for cell in cells]).reshape(10, 10)
    np.testing.assert_array_equal(counts.sum(1), np.bincount(labels))
    np.testing.assert_array_equal(counts.sum(0), np.bincount(logits.argmax(1), minlength=10))
    assert counts.trace() == np.sum(logits.argmax(1) == labels)


def test_the_most_confident_mistakes_are_pictures(browser, page, finished):
    labels, logits = predictions(finished)
    odds = np.exp(logits.astype(np.float64))
    sure = odds.max(1) / odds.sum(1)
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:12]
    digits = data.load("digits")
    pictures, texts = page(".mistakes img"), page(".mistakes li")
    assert visible(pictures)
    assert [picture["natural"] for picture in pictures] == [32] * len(chosen)
    assert all(picture["width"] > 64 for picture in pictures)
    for picture, text, i in zip(pictures, texts, chosen, strict=True):
        true, predicted = digits.class_names[labels[i]], digits.class_names[logits[i].argmax()]
        assert picture["alt"] == f"Test image {i}, {true}, taken for {predicted}"
        assert f"{100 * sure[i]:.1f}%" in text["text"]
    first = browser.evaluate(
        """(async () => {
            const image = document.querySelector(".mistakes img")
            const canvas = new OffscreenCanvas(32, 32).getContext("2d")
            canvas.drawImage(image, 0, 0)
            return [...canvas.getImageData(0, 0, 32, 32).data]
        })()"""
    )
    shown = np.array(first).reshape(32, 32, 4)[..., :3]
    np.testing.assert_array_equal(shown, digits.test.images[chosen[0]])


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1200, True)])
def test_it_is_readable_on_a_phone_and_in_the_dark(browser, finished, tmp_path, width, dark):
    write_report([finished], tmp_path / "report")
    browser.open(tmp_path / "report" / "report.html", width=width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    ink, paper, curve = browser.evaluate(
        """[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector(".panels text")).fill]"""
    )
    assert curve == ink
    light, deep = (brightness(color) for color in ((ink, paper) if dark else (paper, ink)))
    assert (light + 0.05) / (deep + 0.05) > 7  # WCAG's AAA


def brightness(color):
    """WCAG's relative luminance of ``rgb(r, g, b)``."""
    parts = np.array([int(part) for part in color[4:-1].split(",")]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.fixture
def odd(finished, tmp_path):
    """A copy of a run to spoil."""
    shutil.copytree(finished, tmp_path / "odd")
    return tmp_path / "odd"


def edit(run, change):
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))


def test_where_the_images_are_not_to_be_had_the_page_says_so(browser, odd, tmp_path):
    def rename(config):
        config["config"]["data"].update(dataset="mnist", data_dir=str(tmp_path / "nothing"))

    edit(odd, rename)
    write_report([odd], tmp_path / "report")
    browser.open(tmp_path / "report" / "report.html")
    found = browser.evaluate(MEASURE % '".mistakes img"')
    assert found == []
    assert "The pictures are not shown: MNIST is not here" in browser.evaluate("document.body.innerText")


def test_pictures_of_a_folder_are_shown_too(browser, odd, pictures, tmp_path):
    def rename(config):
        config["config"]["data"].update(dataset="folder", data_dir=str(pictures), image_size=32)
        config["data"]["class_names"] = ["china", "flower"]

    edit(odd, rename)
    labels = np.repeat([0, 1], 9)  # of the folder's test pictures
    logits = np.zeros((18, 2), np.float32)
    logits[:, 1] = np.arange(18) + 1  # all flowers, the last of them surest
    np.savez(odd / "predictions.npz", labels=labels, logits_last=logits, logits_best=logits)
    write_report([odd], tmp_path / "report")
    browser.open(tmp_path / "report" / "report.html")
    shown = browser.evaluate(MEASURE % '".mistakes img"')
    assert [picture["natural"] for picture in shown] == [32] * 9
    assert [picture["alt"] for picture in shown] == [
        f"Test image {i}, china, taken for flower" for i in reversed(range(9))
    ]


def test_a_hundred_classes_are_a_picture_and_lists(browser, odd, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 2000)
    logits = rng.standard_normal((2000, 100)).astype(np.float32)
    logits[np.arange(2000), labels] += 2
    np.savez(odd / "predictions.npz", labels=labels, logits_last=logits, logits_best=logits)
    edit(odd, lambda config: config["data"].update(class_names=[f"class-{n}" for n in range(100)]))
    write_report([odd], tmp_path / "report")
    browser.open(tmp_path / "report" / "report.html", width=390)
    [picture] = browser.evaluate(MEASURE % '".map img"')
    assert picture["natural"] == 100
    assert picture["width"] > 300
    assert picture["width"] == pytest.approx(picture["height"], abs=4)
    pairs = browser.evaluate(MEASURE % '".pairs tbody tr"')
    assert len(pairs) == 24
    counts = np.zeros((100, 100), int)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    np.fill_diagonal(counts, 0)
    most = np.unravel_index(counts.argmax(), counts.shape)
    assert pairs[0]["text"].startswith(f"class-{most[0]}class-{most[1]}{counts.max()}")


def test_names_cannot_write_into_the_page(browser, odd, tmp_path):
    evil = "<script>document.title = 'gone'</script>"
    edit(odd, lambda config: config["data"].update(class_names=[evil, *"123456789"]))
    write_report([odd], tmp_path / "report", title=evil)
    browser.open(tmp_path / "report" / "report.html")
    assert browser.evaluate("document.title") == evil
    assert browser.evaluate("document.scripts.length") == 0

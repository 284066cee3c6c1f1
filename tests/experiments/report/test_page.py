"""The page as a browser shows it."""

import json
import shutil

import numpy as np
import pytest

from experiments.report import write_report
from jax_resnet import data
from tests.helpers.browser import PROGRAM, Browser
from tests.helpers.run_folders import write_run

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


def test_the_page_requests_no_other_file_and_logs_no_error(browser, page):
    requested = [address for address in browser.requests() if not address.startswith("data:")]
    assert len(requested) == 1
    assert requested[0].endswith("/report.html")
    assert browser.errors() == []
    assert browser.evaluate("document.documentElement.lang") == "en"


def test_the_table_shows_the_numbers_of_the_run(page, finished):
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


def test_the_most_confident_mistakes_are_shown_as_images(browser, page, finished):
    labels, logits = predictions(finished)
    odds = np.exp(logits.astype(np.float64))
    sure = odds.max(1) / odds.sum(1)
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:12]
    digits = data.load("digits")
    images, texts = page(".mistakes img"), page(".mistakes li")
    assert visible(images)
    assert [image["natural"] for image in images] == [32] * len(chosen)
    assert all(image["width"] > 64 for image in images)
    for image, text, i in zip(images, texts, chosen, strict=True):
        true, predicted = digits.class_names[labels[i]], digits.class_names[logits[i].argmax()]
        assert image["alt"] == f"Test image {i}, {true}, predicted {predicted}"
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
    """A copy of a run to change."""
    shutil.copytree(finished, tmp_path / "odd")
    return tmp_path / "odd"


def edit(run, change):
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))


def test_the_page_says_why_images_are_not_shown(browser, odd, tmp_path):
    def rename(config):
        config["config"]["data"].update(dataset="mnist", data_dir=str(tmp_path / "nothing"))

    edit(odd, rename)
    write_report([odd], tmp_path / "report")
    browser.open(tmp_path / "report" / "report.html")
    found = browser.evaluate(MEASURE % '".mistakes img"')
    assert found == []
    assert "The images are not shown: MNIST is not here" in browser.evaluate("document.body.innerText")


def test_images_of_a_folder_are_shown_too(browser, odd, image_folder, tmp_path):
    def rename(config):
        config["config"]["data"].update(dataset="folder", data_dir=str(image_folder), image_size=32)
        config["data"]["class_names"] = ["china", "flower"]

    edit(odd, rename)
    labels = np.repeat([0, 1], 9)  # the folder's test images
    logits = np.zeros((18, 2), np.float32)
    logits[:, 1] = np.arange(18) + 1  # all flowers, the last of them surest
    np.savez(odd / "predictions.npz", labels=labels, logits_last=logits, logits_best=logits)
    write_report([odd], tmp_path / "report")
    browser.open(tmp_path / "report" / "report.html")
    shown = browser.evaluate(MEASURE % '".mistakes img"')
    assert [image["natural"] for image in shown] == [32] * 9
    assert [image["alt"] for image in shown] == [
        f"Test image {i}, china, predicted flower" for i in reversed(range(9))
    ]


def test_the_confusions_of_a_hundred_classes_are_an_image_and_lists(browser, odd, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 2000)
    logits = rng.standard_normal((2000, 100)).astype(np.float32)
    logits[np.arange(2000), labels] += 2
    np.savez(odd / "predictions.npz", labels=labels, logits_last=logits, logits_best=logits)
    edit(odd, lambda config: config["data"].update(class_names=[f"class-{n}" for n in range(100)]))
    write_report([odd], tmp_path / "report")
    browser.open(tmp_path / "report" / "report.html", width=390)
    [image] = browser.evaluate(MEASURE % '".map img"')
    assert image["natural"] == 100
    assert image["width"] > 300
    assert image["width"] == pytest.approx(image["height"], abs=4)
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


LONG = "cpu, 2 cores each of 4 processes"


def test_nothing_is_cut_off_at_1280_pixels(browser, tmp_path):
    for place, arch in enumerate(("preact_resnet18", "resnext29_8x64d_with_a_long_name", "plain56", "vgg16")):
        for seed in range(3):
            write_run(
                tmp_path / "runs" / f"{arch}-{seed}",
                arch=arch,
                seed=seed,
                settings={"optim": {"learning_rate": 0.1 + place, "schedule": "step"}},
                summary={
                    "test_accuracy": 0.5 + seed / 9, "test_accuracy_best": 0.4 + seed / 9, "device": LONG,
                    "val_accuracy": 0.4 + seed / 9, "seconds": 3e5, "recipe": "tutorial-004-imagenet",
                },
                logits=np.random.default_rng(seed).standard_normal((50, 10)).astype(np.float32),
            )  # fmt: skip
    write_report([tmp_path / "runs"], tmp_path / "report")
    browser.open(tmp_path / "report" / "report.html", width=1280)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 1280
    regions = browser.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility())"
        ".map(e => [e.scrollWidth, e.clientWidth])"
    )
    assert len(regions) >= 3
    assert all(inside <= outside for inside, outside in regions), regions


STRANGE = [
    "$x_$", "US$5_US$10", "<script>document.title = 'gone'</script>", "a|b`c`[d](e)", "two\nlines", "שלום",
    "中文名", "🙂👩\u200d🔬", "x" * 5000, "\u202eevil",
]  # fmt: skip


@pytest.mark.parametrize("width", [390, 1280])
def test_class_names_of_any_script_are_shown_literally(browser, tmp_path, width):
    logits = np.random.default_rng(0).standard_normal((200, 10)).astype(np.float32)
    write_run(tmp_path / "run", arch="<b>_$x$", class_names=STRANGE, logits=logits)
    write_report([tmp_path / "run"], tmp_path / "report", title="<i>$|")
    browser.open(tmp_path / "report" / "report.html", width=width)
    headings = [e["text"] for e in browser.evaluate(MEASURE % '".confusion tbody th"')]
    assert headings[:4] == STRANGE[:4]
    assert headings[4] == "two\\nlines"
    assert headings[5:8] == STRANGE[5:8]
    assert headings[8] == "x" * 99 + "…"
    assert headings[9] == "\\u202eevil"
    assert browser.evaluate("document.title") == "<i>$|"
    assert browser.evaluate("document.querySelectorAll('main b, main i, script').length") == 0
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.errors() == []

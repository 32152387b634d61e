"""The page in a real Chromium: it works by mouse and keyboard, and fetches nothing."""

import os
import shutil

import numpy as np
import pytest

import kerasresnet as kr

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed"
)

NAMES = (
    "roses",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "10",
    "9",
)


def chromium(playwright):
    """A browser: Debian's, or Playwright's own, or a reason why there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    # Chromium has no sandbox for root, as in most containers.
    arguments = [] if os.getuid() else ["--no-sandbox"]
    try:
        return playwright.chromium.launch(executable_path=path, args=arguments)
    except sync_api.Error as error:
        pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = chromium(playwright)
        yield found
        found.close()


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), [9, 5, 7, 1, 2])
    scores = rng.dirichlet(np.ones(5), 24)
    scores[:12] = np.eye(5)[labels[:12]] * 0.9 + 0.02
    sources = tuple(f"image {i} {NAMES[i % 3]}" for i in range(24))
    return kr.Report(NAMES, labels, scores, sources)


@pytest.fixture(scope="module")
def address(report, tmp_path_factory):
    images = np.random.default_rng(0).integers(0, 256, (24, 40, 60, 3), "uint8")
    data = kr.ImageData.from_arrays(images, report.labels, class_names=NAMES)
    shown = kr.Report(NAMES, report.labels, report.probabilities, data.sources)
    path = tmp_path_factory.mktemp("page") / "report.html"
    shown.to_html(
        path,
        data=data,
        history={"loss": [2.0, 1.0], "val_loss": [2.5, 2.0]},
        audit=data.check(),
        settings={NAMES[1]: NAMES[2]},
        title=NAMES[2],
    )
    return path.as_uri()


@pytest.fixture
def open_page(browser, address):
    """Opens the page; afterwards nothing may have gone wrong or been asked for."""
    troubles, contexts = [], []

    def opened(**settings):
        context = browser.new_context(offline=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", lambda request: troubles.append(request.url) if request.url[:5] not in ("file:", "data:") else None)  # fmt: skip
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def column(page, number):
    return page.locator(
        f".sortable tbody tr > :nth-child({number})"
    ).all_text_contents()


def test_a_click_sorts_a_column_and_another_turns_it_round(open_page, report):
    page = open_page()
    heading = page.locator(".sortable th").nth(1)
    counts = sorted(score.support for score in report.per_class)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(page, 2) == list(map(str, counts))
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(page, 2) == list(map(str, counts[::-1]))
    assert page.locator(".sortable th[aria-sort]").count() == 1
    assert sorted(column(page, 1)) == sorted(NAMES)  # no row is lost


def test_the_keyboard_sorts_too_and_names_with_numbers_by_these(open_page):
    page = open_page()
    page.locator(".sortable").locator("xpath=..").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    names = column(page, 1)
    assert names.index("9") < names.index("10") < names.index("roses")
    page.keyboard.press("Space")
    assert column(page, 1) == names[::-1]


def test_what_is_unknown_stays_at_the_end(open_page, report):
    page = open_page()
    known = [
        f"{s.precision:.1%}" for s in report.per_class if s.precision == s.precision
    ]
    button = page.locator(".sortable th").nth(4).get_by_role("button")
    for _ in range(2):
        button.click()
        shown = column(page, 5)
        assert "-" not in shown[: len(known)]


@pytest.mark.parametrize("key", [None, "Enter"])
def test_a_cell_shows_exactly_its_own_images(open_page, report, key):
    page = open_page()
    for label, called in np.argwhere(report.confusion):
        cell = page.locator(
            f".matrix button[data-label='{label}'][data-called='{called}']"
        )
        cell.press(key) if key else cell.click()
        shown = page.locator("#photos-of-cell figcaption").all_text_contents()
        wanted = np.flatnonzero((report.labels == label) & (report.predicted == called))
        assert sorted(int(text.split()[-1]) for text in shown) == wanted.tolist()
        assert int(cell.text_content()) == len(wanted)
        assert page.locator("#photos-of-cell img").count() == len(wanted)
        assert page.locator("[aria-pressed=true]").count() == 1


def test_every_picture_is_drawn(open_page):
    page = open_page()
    page.locator(".matrix button").first.click()
    sizes = page.evaluate("Promise.all([...document.images].map(async i => (await i.decode(), i.naturalWidth)))")  # fmt: skip
    assert len(sizes) > 12
    assert min(sizes) > 0


def test_names_stay_text(open_page):
    page = open_page()
    assert page.title() == page.locator("h1").text_content() == NAMES[2]
    page.locator(".matrix button[data-label='1']").first.click()
    assert NAMES[1] in page.locator("#photos-of-cell h3").text_content()
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 2


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_the_page_without_moving_it_sideways(open_page, width):
    page = open_page(viewport={"width": width, "height": 800}, has_touch=True)
    page.locator(".matrix button").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    frame = page.locator(".sortable").locator("xpath=..")
    assert frame.evaluate("e => e.scrollWidth > e.clientWidth")  # moved in its frame
    page.locator(".sortable button").first.tap()
    assert page.locator("[aria-sort=ascending]").count() == 1


def luminance(colour):
    value = np.array([float(part) for part in colour[4:-1].split(",")]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ground_and_letters_are_far_apart_by_day_and_by_night(open_page, scheme):
    page = open_page(color_scheme=scheme)
    style = "e => [getComputedStyle(e)[e.ownerSVGElement ? 'fill' : 'color'], getComputedStyle(document.body).backgroundColor]"  # fmt: skip
    grounds = set()
    kinds = ("body", "a", "figcaption", "button.open", "th", ".tick", ".first.key", ".second.key")  # fmt: skip
    for selector in kinds:
        letters, ground = page.locator(selector).first.evaluate(style)
        dark, light = sorted((luminance(letters), luminance(ground)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector  # WCAG 2.2, 1.4.3
        grounds.add(luminance(ground))
    assert all((ground > 0.5) == (scheme == "light") for ground in grounds)


def test_paper_is_white_and_has_no_links_to_click(open_page):
    page = open_page(color_scheme="dark")
    assert page.locator("nav").is_visible()
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    assert page.pdf()[:5] == b"%PDF-"


def test_every_control_can_be_reached_by_tab_and_is_seen_there(open_page):
    page = open_page()
    controls = page.locator("a, button").count()
    seen = 0
    for _ in range(controls + 40):
        page.keyboard.press("Tab")
        focused = page.evaluate("(e => [e.tagName, getComputedStyle(e).outlineStyle])(document.activeElement)")  # fmt: skip
        if focused[0] in ("A", "BUTTON"):
            assert focused[1] == "solid"
            seen += 1
    assert seen >= controls

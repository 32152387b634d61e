import kerasresnet as kr
from kerasresnet.figures import cut, shortened


def test_a_notebook_can_show_a_figure():
    assert kr.plot_history({"loss": [1.0]})._repr_png_().startswith(b"\x89PNG")


def test_a_title_keeps_the_end_of_its_lines_and_is_no_formula():
    assert shortened("a" * 40 + "/b.jpg\n$x$") == "…" + "a" * 21 + "/b.jpg\n" + r"\$x\$"
    assert cut("abcdef", 4) == "…def"
    assert cut("abcd", 4) == "abcd"

"""The picture of a replayed search: one file, nothing to load, every number where the axes say."""

import re
from xml.etree import ElementTree as ET

from mixopt.replay.picture import picture
from mixopt.replay.score import Mean
from mixopt.replay.search import SearchReport, SearchScore


def score(strategy: str, cost: float, regret: float) -> SearchScore:
    mean = Mean(value=regret, error=0.1)
    return SearchScore(strategy=strategy, cost=cost, regret=mean, regret_iqr=mean, rank=mean, spent=mean)


REPORT = SearchReport(
    scores=(score("a<b", 0.1, 1.0), score("a<b", 10.0, 0.5), score("random", 0.1, 2.0), score("random", 10.0, 1.0)),
    left_out={"mde": "no experts"},
)


def test_the_picture_is_one_file_that_loads_nothing() -> None:
    text = picture(REPORT, title="runs & draws")
    assert "runs &amp; draws" in text
    assert "mde is left out: no experts" in text
    assert not re.search(r"<script|src=|href=|url\(", text)
    assert [link for link in re.findall(r"https?://[^\"]+", text) if "w3.org" not in link] == []


def test_the_drawing_is_well_formed_with_labelled_axes_and_an_error_bar_a_point() -> None:
    drawing = re.search(r"<svg.*</svg>", picture(REPORT, title="t"), flags=re.DOTALL)
    assert drawing is not None
    root = ET.fromstring(drawing.group())
    words = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert words.count("charged cost") == 2
    assert any("regret" in (word or "") for word in words)
    assert words.count("a<b") == 1
    circles = [node for node in root.iter() if node.tag.endswith("circle")]
    assert len(circles) == 8
    heights = [float(node.attrib["cy"]) for node in circles[:4]]
    assert heights[2] < heights[0] < heights[1]  # a larger regret is drawn higher
    assert heights[0] == heights[3]

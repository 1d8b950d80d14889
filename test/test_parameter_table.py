"""doc/parameters.md says what the code says."""

from pathlib import Path

from alike_ros.cli import main
from alike_ros.config import NodeConfig, flatten, is_live

FILE = Path(__file__).parents[1] / "doc" / "parameters.md"


def rows():
    """Name -> cells of the table."""
    lines = [line for line in FILE.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_committed_file_is_up_to_date(capsys):
    assert main(["config", "--table"]) == 0
    assert capsys.readouterr().out == FILE.read_text(), "alike config --table > doc/parameters.md"


def test_every_parameter_is_in_it():
    table = rows()
    assert list(table) == list(flatten(NodeConfig()))
    assert all(len(cells) == 6 for cells in table.values())
    assert {name for name, cells in table.items() if cells[4]} == set(filter(is_live, table))
    assert table["detector.top_k"][:5] == ["`1000`", "int, 0 to 5000", "x", "", "x"]
    assert table["mode"][:4] == ['`"mono"`', "`mono`, `rgbd`, `stereo`", "x", "x"]
    assert table["initial_pose"][:4] == ['`""`', "str", "", "x"]
    assert all(cells[2] or cells[3] for cells in table.values())

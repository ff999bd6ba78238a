"""Paths at which no folder can be, and what a message says of each."""


def below_a_file(folder):
    (folder / "file").touch()
    return folder / "file" / "run"


def loop_of_links(folder):
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a"


def too_long(folder):
    return folder / ("x" * 300) / "run"


def dangling(folder):
    (folder / "link").symlink_to(folder / "gone")
    return folder / "link"


def below_a_dangling_link(folder):
    return dangling(folder) / "run"


def a_file(folder):
    (folder / "file").touch()
    return folder / "file"


ODD = [
    (below_a_file, "Not a directory"),
    (loop_of_links, "Too many levels of symbolic links"),
    (too_long, "File name too long"),
    (dangling, "link: is a link to .*gone, which isn't there"),
    (below_a_dangling_link, "link: is a link to .*gone, which isn't there"),
    (a_file, "file: is not a folder"),
]

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from finetune.data.adapters import folder
from finetune.data.catalog import LeftOut
from finetune.errors import DataError, UsageError
from finetune.recipe.dataset import FolderData


def tree(root, *names):
    """Empty files at these paths (the adapter opens none); a name that ends in a slash is a folder."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def read(root, **options):
    return folder.read(FolderData(root=str(root), **options))


def refusal(root, **options):
    with pytest.raises(DataError) as caught:
        read(root, **options)
    return str(caught.value).replace(str(root), "ROOT")


def test_class_folders_are_classes_in_the_order_of_names(tmp_path):
    catalog = read(tree(tmp_path, "dog/2.jpg", "cat/1.PNG", "dog/10.jpeg", "cat/3.TIF", "ant/1.webp", "ant/2.Bmp"))
    assert catalog.classes == ("ant", "cat", "dog")
    assert catalog.keys == ("ant/1.webp", "ant/2.Bmp", "cat/1.PNG", "cat/3.TIF", "dog/10.jpeg", "dog/2.jpg")
    assert [sample.label for sample in catalog.samples] == ["ant", "ant", "cat", "cat", "dog", "dog"]
    assert all(sample.split is None and sample.sha256 is None for sample in catalog.samples)
    assert catalog.samples[0].file == tmp_path / "ant" / "1.webp"


def test_what_is_left_out_is_listed_with_its_reason(tmp_path):
    tree(
        tmp_path,
        "a/1.jpg",
        "b/1.jpg",
        "a/notes.txt",
        "b/moving.gif",
        "loose.jpg",
        "README.md",
        "b/Thumbs.db",
        "a/._1.jpg",
    )
    tree(
        tmp_path,
        ".git/HEAD",
        "__MACOSX/a/1.jpg",
        "a/.ipynb_checkpoints/1.jpg",
        "a/@eaDir/1.jpg",
        "b/folder.jpg/",
        "b/empty/",
    )
    assert {item.key: item.reason for item in read(tmp_path).left_out} == {
        ".git": "hidden or system name",
        "README.md": "not an image suffix",
        "__MACOSX": "hidden or system name",
        "a/._1.jpg": "hidden or system name",
        "a/.ipynb_checkpoints": "hidden or system name",
        "a/@eaDir": "hidden or system name",
        "a/notes.txt": "not an image suffix",
        "b/Thumbs.db": "hidden or system name",
        "b/folder.jpg": "a folder with an image's name",
        "b/moving.gif": "format not allowed (.gif); JPEG, PNG, WebP, BMP and TIFF are read",
        "loose.jpg": "beside the class folders",
    }


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "VALID", "Test"), ("train", "validation", "test")]
)
def test_split_folders_are_recorded_as_found(tmp_path, names):
    root = tree(tmp_path, *(f"{name}/{label}/1.jpg" for name in names for label in ("a", "b")))
    catalog = read(root)
    assert catalog.classes == ("a", "b")
    assert sorted({sample.split for sample in catalog.samples}) == sorted(names)
    assert all(sample.key.startswith(f"{sample.split}/") for sample in catalog.samples)


def test_pooled_split_folders_are_one(tmp_path):
    catalog = read(tree(tmp_path, "train/a/1.jpg", "val/b/1.jpg", "test/a/1.jpg"), pool=True)
    assert catalog.classes == ("a", "b")
    assert catalog.keys == ("test/a/1.jpg", "train/a/1.jpg", "val/b/1.jpg")
    assert {sample.split for sample in catalog.samples} == {None}


def test_pooling_what_is_not_split_is_refused(tmp_path):
    assert refusal(tree(tmp_path, "a/1.jpg", "b/1.jpg"), pool=True) == (
        "'ROOT': pool: true has no effect, there are no folders train, val or test; leave it out"
    )


def test_what_stands_beside_split_folders_is_left_out(tmp_path):
    tree(
        tmp_path,
        "train/a/1.jpg",
        "train/b/1.jpg",
        "val/a/1.jpg",
        "unsorted/x/1.jpg",
        "unsorted/2.jpg",
        "test/",
        "train/3.jpg",
        "4.jpg",
    )
    catalog = read(tmp_path)
    assert len(catalog) == 3
    assert catalog.left_out == (
        LeftOut("4.jpg", "beside the class folders"),
        LeftOut("test", "a folder beside the split folders (0 images)"),
        LeftOut("train/3.jpg", "beside the class folders"),
        LeftOut("unsorted", "a folder beside the split folders (2 images)"),
    )


def test_classes_may_be_called_like_split_folders(tmp_path):
    assert read(tree(tmp_path, "train/1.jpg", "plane/1.jpg", "test/1.jpg")).classes == ("plane", "test", "train")
    assert read(tree(tmp_path / "other", "test/1.jpg", "quiz/1.jpg")).classes == ("quiz", "test")


def test_a_class_that_training_lacks_is_an_error_with_a_near_match(tmp_path):
    root = tree(
        tmp_path,
        "train/dog/1.jpg",
        "train/cat/1.jpg",
        "val/dgo/1.jpg",
        "val/dgo/2.jpg",
        "val/cat/1.jpg",
        "test/x/1.jpg",
    )
    assert refusal(root) == (
        "'ROOT': classes that 'train' does not have; rename, move or remove them"
        "\n    test/x: 1 image\n    val/dgo: 2 images; did you mean 'dog'?"
    )


def test_a_class_that_only_training_has_is_no_error(tmp_path):
    catalog = read(tree(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/"))
    assert catalog.classes == ("a", "b")


def test_split_folders_without_training_images_are_refused(tmp_path):
    root = tree(tmp_path, "val/a/1.jpg", "test/a/1.jpg", "train/")
    assert refusal(root) == "'ROOT': 'test', 'val' but no images in 'train'; classes come from training images"


def test_split_folders_without_class_folders_are_refused(tmp_path):
    message = refusal(tree(tmp_path, "train/1.jpg", "val/1.jpg"))
    assert message.startswith("'ROOT': 'train', 'val' hold images but no class folders; ")
    assert message.endswith("such as train/cat/1.jpg")


def test_split_folders_that_differ_in_capitals_are_refused(tmp_path):
    root = tree(tmp_path, "train/a/1.jpg", "Train/b/1.jpg")
    assert refusal(root) == "'ROOT': split folders that differ in capitals only: 'Train', 'train'; rename one"


def test_folders_inside_class_folders_need_to_be_asked_for(tmp_path):
    root = tree(tmp_path, "cat/siamese/1.jpg", "cat/siamese/2.jpg", "cat/tabby/1.jpg", "dog/1.jpg")
    assert refusal(root) == (
        "'ROOT': folders of images inside class folders; say `nested: true` to make each a class of its own, "
        "or move the images up\n    cat/siamese: 2 images\n    cat/tabby: 1 image"
    )
    catalog = read(root, nested=True)
    assert catalog.classes == ("cat/siamese", "cat/tabby", "dog")
    assert [sample.label for sample in catalog.samples] == ["cat/siamese", "cat/siamese", "cat/tabby", "dog"]


def test_nested_class_folders_under_split_folders(tmp_path):
    catalog = read(tree(tmp_path, "train/x/a/1.jpg", "train/x/b/1.jpg", "train/x/2.jpg", "val/x/a/1.jpg"), nested=True)
    assert catalog.classes == ("x", "x/a", "x/b")


def test_a_root_one_folder_too_high_is_recognised(tmp_path):
    message = refusal(tree(tmp_path, "photos/a/1.jpg", "photos/b/1.jpg"))
    assert "or set root to 'ROOT/photos'" in message


def test_empty_class_folders_are_named_with_what_was_left_out_there(tmp_path):
    root = tree(tmp_path, "a/1.jpg", "b/1.jpg", "c/", "d/1.gif", "d/2.gif", "d/notes.txt", "e/.keep")
    assert refusal(root) == (
        "'ROOT': class folders without images; fill or remove them\n    c"
        "\n    d (3 left out: 2 x format not allowed (.gif); JPEG, PNG, WebP, BMP and TIFF are read; "
        "1 x not an image suffix)"
        "\n    e (1 left out: 1 x hidden or system name)"
    )


def test_empty_folders_are_empty_classes_where_folders_nest(tmp_path):
    assert refusal(tree(tmp_path, "x/a/1.jpg", "x/b/", "y/1.jpg"), nested=True).endswith("remove them\n    x/b")


@pytest.mark.parametrize("options", [{}, {"pool": True}])
def test_an_empty_training_class_is_an_error(tmp_path, options):
    root = tree(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/", "val/a/1.jpg")
    assert refusal(root, **options) == "'ROOT': class folders without images; fill or remove them\n    train/c"


def test_a_class_empty_in_train_is_filled_by_another_folder_when_pooled(tmp_path):
    assert read(tree(tmp_path, "train/a/1.jpg", "train/b/", "val/b/1.jpg"), pool=True).classes == ("a", "b")


def test_one_class_is_not_enough(tmp_path):
    assert (
        refusal(tree(tmp_path, "a/1.jpg"))
        == "'ROOT': only one class, 'a'; a classifier needs two or more class folders"
    )


def test_images_without_class_folders_are_explained(tmp_path):
    assert refusal(tree(tmp_path, "1.jpg", "2.jpg", "notes.txt")) == (
        "'ROOT': 2 images but no class folders; name the folder that holds the folders of the classes, "
        "such as ROOT with ROOT/cat/1.jpg and ROOT/dog/1.jpg"
    )


def test_no_images_at_all(tmp_path):
    right = "JPEG, PNG, WebP, BMP and TIFF are read, in a folder for each class, such as ROOT/cat/1.jpg"
    assert refusal(tmp_path) == f"'ROOT': no images; {right}"
    left_out = "(2 left out: 2 x not an image suffix)"
    assert refusal(tree(tmp_path, "a/1.txt", "b/2.txt")) == f"'ROOT': no images {left_out}; {right}"


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("STRASSE", "stra\u00dfe")])
def test_classes_that_another_file_system_would_merge_are_refused(tmp_path, one, other):
    message = refusal(tree(tmp_path, f"{one}/1.jpg", f"{other}/1.jpg", "dog/1.jpg"))
    assert "classes that differ only in capitals or in how accents are stored" in message
    assert ascii(one) in message
    assert ascii(other) in message
    assert message.isascii()


def test_odd_names_are_kept_apart_and_printable(tmp_path):
    names = [
        b"\xff\xfe.jpg",
        b"a\nb.jpg",
        b"a\\x0ab.jpg",
        b"\x1b[2J.jpg",
        b"-rf.jpg",
        b" .jpg",
        "\u202egpj.exe.jpg".encode(),
        b"x" * 251 + b".jpg",
    ]
    for label in (b"no", b"null\x07"):
        os.mkdir(os.fsencode(tmp_path) + b"/" + label)
        for name in names:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + label + b"/" + name)).touch()
    catalog = read(tmp_path)
    assert catalog.classes == ("no", "null\\x07")
    assert len(catalog) == 2 * len(names)
    assert all(key.isprintable() and key.encode() for key in catalog.keys)
    assert {"no/\\xff\\xfe.jpg", "no/a\\x0ab.jpg", "no/a\\\\x0ab.jpg", "no/\\u202egpj.exe.jpg"} <= set(catalog.keys)
    assert all(sample.file.exists() for sample in catalog.samples)
    assert catalog.keys == tuple(sorted(catalog.keys))


def test_class_names_stay_text(tmp_path):
    names = ("no", "null", "1e3", "2024-01-01", "__metadata__", "{{7*7}}", "007")
    assert read(tree(tmp_path, *(f"{name}/1.jpg" for name in names))).classes == tuple(sorted(names))


def test_deep_paths_are_no_limit(tmp_path):
    deep = tmp_path / "a"
    deep.mkdir()
    here = os.getcwd()
    try:
        os.chdir(deep)
        for _ in range(18):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
        Path("1.jpg").touch()
    finally:
        os.chdir(here)
    catalog = read(tree(tmp_path, "b/1.jpg"), nested=True)
    assert len(catalog.classes[0]) > 3600


def test_the_order_of_files_on_disk_does_not_matter(tmp_path):
    names = [f"{label}/{number}.jpg" for label in "ab" for number in range(9)]
    one, other = tree(tmp_path / "one", *names), tree(tmp_path / "other", *reversed(names))
    assert read(one).keys == read(other).keys


def test_links_inside_the_root_are_images_and_others_are_listed(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a/link.jpg").symlink_to(tmp_path / "b/1.jpg")
    (tmp_path / "a/gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "a/loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "a/up").symlink_to("..")
    catalog = read(tmp_path)
    assert catalog.keys == ("a/1.jpg", "a/link.jpg", "b/1.jpg")
    assert {item.key: item.reason for item in catalog.left_out} == {
        "a/gone.jpg": "a link that leads nowhere",
        "a/loop.jpg": "a link that leads nowhere",
        "a/up": "a link to a folder, not followed",
    }


def test_links_that_lead_outside_are_refused_all_at_once(tmp_path):
    outside = tree(tmp_path / "private", "secret.jpg") / "secret.jpg"
    root = tree(tmp_path / "photos", "a/1.jpg", "b/1.jpg", "hidden/")
    (root / "a/2.jpg").symlink_to(outside)
    (root / "b/zero.jpg").symlink_to("/dev/zero")
    (root / "c").symlink_to(outside.parent)
    (root / ".hidden").symlink_to(outside)
    assert refusal(root) == (
        "'ROOT': 3 of the things in it cannot be used"
        "\n    a/2.jpg: a link that leads outside"
        "\n    b/zero.jpg: a link that leads outside"
        "\n    c: a link that leads outside"
    )


def test_a_root_that_is_a_link_is_followed(tmp_path):
    tree(tmp_path / "photos", "a/1.jpg", "b/1.jpg")
    (tmp_path / "link").symlink_to("photos")
    assert len(read(tmp_path / "link")) == 2


def test_pipes_and_sockets_are_listed(tmp_path):
    tree(tmp_path, "a/1.jpg", "b/1.jpg")
    os.mkfifo(tmp_path / "a/pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "b/s.jpg"))
        assert [(item.key, item.reason) for item in read(tmp_path).left_out] == [
            ("a/pipe.jpg", "not a regular file"),
            ("b/s.jpg", "not a regular file"),
        ]


def test_a_missing_root_names_the_nearest_folder_and_a_near_match(tmp_path):
    tree(tmp_path, "flowers/a/1.jpg")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "flwers" / "train")
    assert str(caught.value).replace(str(tmp_path), "HERE") == (
        "no folder 'HERE/flwers/train': there is 'HERE', but no 'flwers' in it; did you mean 'flowers'?"
    )


@pytest.mark.parametrize("name", ["photos.zip", "photos.TAR", "photos.tar.gz", "photos.tgz"])
def test_an_archive_is_to_be_extracted(tmp_path, name):
    tree(tmp_path, name)
    assert refusal(tmp_path / name) == "'ROOT' is an archive; extract it first and name the folder"


def test_a_root_that_is_a_file_is_refused(tmp_path):
    tree(tmp_path, "cat.jpg")
    assert refusal(tmp_path / "cat.jpg") == "'ROOT' is not a folder; name the folder that holds the class folders"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_folders_that_may_not_be_read_are_refused(tmp_path):
    root = tree(tmp_path, "a/1.jpg", "b/1.jpg")
    closed = tree(tmp_path / "closed", "x/")
    closed.chmod(0o311)
    user = os.geteuid()
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        parent.chmod(0o755)
    os.seteuid(user or 65534)  # root may read anything
    try:
        assert (
            refusal(root)
            == "'ROOT': 1 of the things in it cannot be used\n    closed: the folder cannot be read (Permission denied)"
        )
        assert re.fullmatch("'ROOT': '.*closed' cannot be read \\(Permission denied\\)", refusal(closed / "y"))
    finally:
        os.seteuid(user)
        closed.chmod(0o755)


def test_images_below_a_folder_are_found_at_any_depth(tmp_path):
    root = tree(tmp_path, "z.jpg", "b/1.jpg", "b/c/2.PNG", "a/notes.txt", ".hidden/1.jpg")
    assert folder.images_below(root) == [root / "b/1.jpg", root / "b/c/2.PNG", root / "z.jpg"]
    with pytest.raises(DataError, match="no images \\(1 left out: 1 x not an image suffix\\)"):
        folder.images_below(root / "a")


def test_everything_that_is_wrong_is_found_and_what_there_is_is_given_too(tmp_path):
    for name in ("a/1.png", "A/1.png", "b/1.png", "b/inner/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    catalog, faults = folder.examine(FolderData(root=str(tmp_path)))
    assert catalog.keys == ("A/1.png", "a/1.png", "b/1.png", "b/inner/1.png")
    assert catalog.classes == ("A", "a", "b", "b/inner")
    said = [str(fault) for fault in faults]
    assert len(said) == 3
    assert "folders of images inside class folders" in said[0]
    assert "differ only in capitals" in said[1]
    assert "class folders without images" in said[2]
    with pytest.raises(DataError) as refusal:
        folder.read(FolderData(root=str(tmp_path)))
    assert str(refusal.value) == said[0]


def test_a_cache_folder_among_the_images_is_refused(tmp_path, monkeypatch):
    root = tree(tmp_path / "images", "cat/1.jpg", "dog/1.jpg")
    for inside in (root, root / "cache", root / ".cache" / "finetune"):
        monkeypatch.setenv("FINETUNE_CACHE", str(inside))
        with pytest.raises(UsageError) as refused:
            read(root)
        assert str(refused.value).startswith(f"the cache folder {inside} lies among the images in ")
        assert str(refused.value).endswith("; set FINETUNE_CACHE to a folder outside of it")
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "images-cache"))
    assert len(read(root)) == 2


def test_a_folder_is_read_where_there_is_no_home_for_a_cache(tmp_path, monkeypatch):
    for name in ("FINETUNE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert len(read(tree(tmp_path, "cat/1.jpg", "dog/1.jpg"))) == 2

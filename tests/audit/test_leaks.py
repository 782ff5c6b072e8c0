from finetune.audit import leaks
from finetune.audit.leaks import check, series
from finetune.data.catalog import Sample
from tests.audit.test_alike import changed
from tests.audit.toys import kinds, known, scene, seen, with_header

LOOKS = [seen(scene(n)) for n in range(24)]


def halves(looks):
    """Every second image is for testing."""
    return {key: ("train", "test")[place % 2] for place, key in enumerate(looks)}


def samples(*keys):
    return [Sample(key, None, key.partition("/")[0]) for key in keys]


def test_numbered_files_that_look_different_are_no_leak():
    looks = {f"a/IMG_{n:04d}.jpg": look for n, look in enumerate(LOOKS)}
    assert list(check(known(looks, parts=halves(looks)))) == []


def test_neighbours_in_number_that_show_one_scene_are_a_burst():
    looks = {f"a/IMG_{n:04d}.jpg": look for n, look in enumerate(LOOKS)}
    looks["a/IMG_0007.jpg"] = looks["a/IMG_0006.jpg"]
    assert kinds(check(known(looks, parts=halves(looks)))) == [
        ("burst", "warning", ("a/IMG_0006.jpg", "a/IMG_0007.jpg"))
    ]
    assert list(check(known(looks, parts=dict.fromkeys(looks, "train")))) == []
    far = {key.replace("0007", "0700"): look for key, look in looks.items()}
    assert list(check(known(far, parts=halves(far)))) == []


def test_pictures_of_one_camera_seconds_apart_are_a_leak():
    shots = {f"a/{n:x}x": with_header(LOOKS[n], camera="X100", taken=1000.0 * n) for n in range(6)}
    shots["a/3x"] = with_header(LOOKS[3], camera="X100", taken=2002.5)
    found = list(check(known(shots, parts=halves(shots))))
    assert kinds(found) == [("time", "warning", ("a/2x", "a/3x"))]
    assert "of one camera (X100), seconds apart, are in train and test" in found[0].text
    shots["a/3x"] = with_header(LOOKS[3], camera="other", taken=2002.5)
    assert list(check(known(shots, parts=halves(shots)))) == []


def test_a_group_on_both_sides_is_named():
    looks = {f"a/{'xyzw'[n]}": LOOKS[n] for n in range(4)}
    groups = {"a/x": "p1", "a/y": "p1", "a/z": "p2"}
    (found,) = check(known(looks, parts=halves(looks), groups=groups))
    assert (found.kind, found.keys) == ("group", ("a/x", "a/y"))
    assert found.text == "2 images of group 'p1' are in train and test"


def patients(alike):
    """Eight patients with three images each: of one scene, or of three."""
    return {f"a/patient{p}_{100 * i}.png": LOOKS[p if alike else 3 * p + i] for p in range(8) for i in range(3)}


def test_series_of_names_on_both_sides_are_a_warning_where_they_look_alike_and_else_a_note():
    for alike, severity in ((True, "warning"), (False, "note")):
        looks = patients(alike)
        (found,) = [one for one in check(known(looks, parts=halves(looks))) if one.kind == "series"]
        assert found.severity == severity
        assert found.text.startswith("8 of 8 series of names, such as a/patient0_…, have images")
        assert found.figures["torn"] == 8
        assert (found.figures["likeness"] > 0.9) == alike
        together = {key: ("train", "test")[int(key[9]) % 2] for key in looks}
        assert [one for one in check(known(looks, parts=together)) if one.kind == "series"] == []


def test_names_that_only_count_or_name_the_class_are_no_series():
    assert series(samples(*(f"a/cat.{n}.jpg" for n in range(40)))) == {}
    assert series(samples(*(f"a/n01440764_{n}.jpg" for n in range(40)))) == {}
    assert series(samples(*(f"a/{n * 7919}_f52e8ee{n}70_n.jpg" for n in range(40)))) == {}
    assert series(samples(*(f"a/video1_{n}.jpg" for n in range(3)), *(f"a/{c}.jpg" for c in "abcdefghijk"))) == {}


def test_frames_of_videos_are_series_in_whatever_split_folder():
    keys = [f"{part}/a/video{v}-frame_{n}.jpg" for v in range(10) for part, n in (("train", 1), ("val", 2))]
    found = series([Sample(key, None, "a", split=key.partition("/")[0]) for key in keys])
    assert sorted(len(members) for members in found.values()) == [2] * 10


def test_without_a_split_nothing_leaks():
    assert list(leaks.check(known(patients(True)))) == []


def test_neighbours_in_number_that_are_no_more_alike_than_others_are_no_burst():
    looks = {f"a/IMG_{number:04}.jpg": seen(changed(scene(0), number)) for number in range(40)}
    parts = {key: ("train", "test")[place % 2] for place, key in enumerate(looks)}
    assert [finding for finding in check(known(looks, parts=parts)) if finding.kind == "burst"] == []

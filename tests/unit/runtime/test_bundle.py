"""A bundle is used only when every byte of it is what its manifest says."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from densemtl_core.runtime import Bundle, BundleError, Predictor, default_bundle, write_bundle


def edit_manifest(bundle: Path, change) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def one_line(error: pytest.ExceptionInfo[BundleError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_smoke(bundle):
    opened = Bundle(bundle)
    opened.verify()
    assert list(opened.manifest.tasks) == ["semantic", "depth", "normals", "edges"]
    assert opened.manifest.tasks["semantic"].class_names == ("road", "sky", "car", "tree", "person")
    assert opened.manifest.tasks["depth"].unit == "metres along the optical axis"
    assert len(opened.manifest.sha256) == 64


def test_manifest_round_trip(bundle):
    manifest = Bundle(bundle).manifest
    assert type(manifest).from_json(manifest.to_json(), "memory") == manifest


def test_a_changed_byte_is_found(bundle):
    weights = bundle / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError) as error:
        Predictor(bundle)
    assert "model.safetensors was changed after the bundle was made" in one_line(error)


def test_a_truncated_file_is_found(bundle):
    weights = bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"model\.safetensors has \d+ bytes, manifest\.json says \d+"):
        Bundle(bundle)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_missing_file_is_found(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle(bundle)


def test_missing_bundle(tmp_path):
    with pytest.raises(BundleError) as error:
        Bundle(tmp_path / "none.bundle")
    assert "bundle not found" in one_line(error)


def test_a_half_written_bundle(bundle):
    (bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match="half-written"):
        Bundle(bundle)


def test_a_file_is_no_bundle(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(BundleError, match="not a folder"):
        Bundle(tmp_path / "x")


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_unknown_schema(bundle, schema):
    edit_manifest(bundle, lambda m: m.update(schema=schema))
    with pytest.raises(BundleError, match=f"schema version {schema!r}, this package reads 1"):
        Bundle(bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("tasks"),
        lambda m: m.update(tasks={}),
        lambda m: m.update(surprise=1),
        lambda m: m.update(input_size=[0, 64]),
        lambda m: m.update(input_size=[64]),
        lambda m: m.update(colour="bgr"),
        lambda m: m.update(resize="letterbox"),
        lambda m: m["files"].update({"model.json": {"sha256": "x"}}),
        lambda m: m["tasks"]["depth"].update(outputs=[]),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_line(bundle, change):
    edit_manifest(bundle, change)
    with pytest.raises(BundleError) as error:
        Bundle(bundle)
    assert "manifest.json" in one_line(error)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_no_manifest(bundle, content):
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError) as error:
        Bundle(bundle)
    one_line(error)


def test_a_huge_manifest_is_not_read(bundle):
    (bundle / "manifest.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(BundleError, match="larger than"):
        Bundle(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "model.json"])
def test_a_folder_or_a_pipe_is_no_file(bundle, name):
    (bundle / name).unlink()
    (bundle / name).mkdir()
    with pytest.raises(BundleError) as error:
        Bundle(bundle)
    one_line(error)
    (bundle / name).rmdir()
    os.mkfifo(bundle / name)
    with pytest.raises(BundleError) as error:
        Bundle(bundle)  # and does not wait for a writer
    one_line(error)


def test_a_link_out_of_the_bundle_is_refused(bundle, tmp_path):
    outside = tmp_path / "outside"
    (bundle / "model.safetensors").rename(outside)
    (bundle / "model.safetensors").symlink_to(outside)
    with pytest.raises(BundleError):
        Bundle(bundle).verify()
    # also when the size happens to agree
    edit_manifest(
        bundle, lambda m: m["files"]["model.safetensors"].update(size=os.lstat(bundle / "model.safetensors").st_size)
    )
    with pytest.raises(BundleError, match="symbolic link"):
        Bundle(bundle).verify()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", ".hidden"])
def test_a_path_out_of_the_bundle_is_refused(bundle, name):
    edit_manifest(bundle, lambda m: m["files"].update({name: {"sha256": "0" * 64, "size": 1}}))
    with pytest.raises(BundleError, match="outside the bundle"):
        Bundle(bundle)


def test_world_writable_is_refused(bundle):
    (bundle / "model.json").chmod(0o666)
    with pytest.raises(BundleError, match="chmod o-w"):
        Bundle(bundle).verify()
    (bundle / "model.json").chmod(0o644)
    bundle.chmod(0o777)
    with pytest.raises(BundleError, match="chmod -R o-w"):
        Bundle(bundle)


def test_classes_must_agree_with_the_model(bundle):
    def drop_a_class(manifest):
        task = manifest["tasks"]["semantic"]
        for fields, key in ((task, "class_names"), (task, "palette"), (task["picture_options"], "palette")):
            fields[key] = fields[key][:-1]

    edit_manifest(bundle, drop_a_class)
    with pytest.raises(BundleError) as error:
        Predictor(bundle)
    assert "names 4 classes for task 'semantic', model.json 5" in one_line(error)


def test_tasks_must_agree_with_the_model(bundle):
    edit_manifest(bundle, lambda m: m["tasks"].pop("edges"))
    with pytest.raises(BundleError, match="name different tasks"):
        Predictor(bundle)


def test_unknown_backend(bundle):
    with pytest.raises(BundleError, match="unknown backend 'tpu'"):
        Predictor(bundle, backend="tpu")


def test_backend_that_the_bundle_has_no_files_for(bundle):
    edit_manifest(bundle, lambda m: m.update(backends=[]))
    with pytest.raises(BundleError, match="has nothing for backend 'auto'"):
        Predictor(bundle)


class TestWriting:
    def test_replaces_an_old_bundle(self, bundle):
        opened = Bundle(bundle)
        files = {name: opened.read(name) for name in opened.manifest.files}
        written = write_bundle(bundle, replace(opened.manifest, name="second"), files)
        assert written.manifest.name == "second"
        assert sorted(p.name for p in bundle.parent.iterdir()) == ["small.bundle"]

    def test_a_crash_leaves_the_old_bundle(self, bundle, monkeypatch):
        opened = Bundle(bundle)
        files = {name: opened.read(name) for name in opened.manifest.files}

        def full_disk(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(
            BundleError, match=r"No space left on device \(.* MB are needed, .* MB free\); the old one is intact"
        ):
            write_bundle(bundle, replace(opened.manifest, name="second"), files)
        assert Bundle(bundle).manifest == opened.manifest
        assert sorted(p.name for p in bundle.parent.iterdir()) == ["small.bundle"]

    def test_does_not_replace_what_is_no_bundle(self, bundle, tmp_path):
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "thesis.txt").write_text("years of work")
        opened = Bundle(bundle)
        with pytest.raises(BundleError, match="is no bundle"):
            write_bundle(precious, opened.manifest, {"model.json": b"", "model.safetensors": b""})
        assert (precious / "thesis.txt").exists()


def test_the_shipped_bundle_is_whole_and_small():
    bundle = Bundle(default_bundle())
    bundle.verify()
    assert sum(f.size for f in bundle.manifest.files.values()) < 20e6
    assert "README.md" in bundle.manifest.files


class TestWhatMayBeReplaced:
    def write(self, path: Path, bundle: Path) -> Bundle:
        opened = Bundle(bundle)
        return write_bundle(path, opened.manifest, {name: opened.read(name) for name in opened.manifest.files})

    def test_somebody_elses_manifest_is_no_bundle(self, bundle, tmp_path):
        other = tmp_path / "webapp"
        other.mkdir()
        (other / "manifest.json").write_text('{"name": "my web app"}')
        (other / "thesis.txt").write_text("precious")
        with pytest.raises(BundleError, match="exists and is no bundle"):
            self.write(other, bundle)
        assert (other / "thesis.txt").read_text() == "precious"

    def test_notes_in_a_bundle_are_not_deleted_with_it(self, bundle):
        (bundle / "notes.txt").write_text("precious")
        with pytest.raises(BundleError, match=r"also holds notes\.txt; move that away first"):
            self.write(bundle, bundle)
        assert (bundle / "notes.txt").read_text() == "precious"

    def test_under_any_umask_it_can_be_loaded(self, bundle, tmp_path):
        before = os.umask(0)
        try:
            written = self.write(tmp_path / "open.bundle", bundle)
        finally:
            os.umask(before)
        assert all(file.stat().st_mode & 0o777 == 0o644 for file in written.path.iterdir())
        written.verify()


def test_a_damaged_file_is_told_even_if_no_engine_reads_it(bundle):
    opened = Bundle(bundle)
    files = {name: opened.read(name) for name in opened.manifest.files} | {"spare.bin": b"for another machine"}
    written = write_bundle(bundle, opened.manifest, files)
    (written.path / "spare.bin").write_bytes(b"for another_machine")
    with pytest.raises(BundleError, match=r"spare\.bin was changed after the bundle was made"):
        Predictor(bundle)


class TestReadOnce:
    """What was hashed is what is loaded."""

    @pytest.fixture
    def opened_files(self, monkeypatch) -> list[str]:
        """Names of the files whose bytes are read from here on."""
        names: list[str] = []
        real = Bundle._open

        def noted(self, name, limit):
            names.append(name)
            return real(self, name, limit)

        monkeypatch.setattr(Bundle, "_open", noted)
        return names

    def test_a_predictor_reads_every_file_once(self, bundle, opened_files):
        Predictor(bundle)
        assert sorted(opened_files) == ["manifest.json", "model.json", "model.safetensors"]

    def test_two_engines_of_one_file_read_it_once(self, bundle, opened_files):
        opened = Bundle(bundle)
        assert opened.read("model.safetensors") is opened.read("model.safetensors")
        assert opened_files.count("model.safetensors") == 1

    def test_a_file_that_changes_after_it_was_read_changes_nothing(self, bundle):
        opened = Bundle(bundle)
        first = opened.read("model.json")
        (bundle / "model.json").write_bytes(b" " * len(first))
        assert opened.read("model.json") == first
        with pytest.raises(BundleError, match=r"model\.json was changed"):
            opened.verify()
        opened.verify_rest()  # nobody reads it again

    def test_a_file_that_changes_between_two_readings_is_refused(self, bundle):
        opened = Bundle(bundle)
        opened.verify()
        weights = bundle / "model.safetensors"
        weights.write_bytes(bytes(weights.stat().st_size))
        with pytest.raises(BundleError, match=r"model\.safetensors was changed"):
            opened.read("model.safetensors")

    def test_with_damage_elsewhere_the_engine_is_freed_again(self, bundle, monkeypatch):
        freed = []
        close = "densemtl_core.runtime.backends.eager.EagerBackend.close"
        monkeypatch.setattr(close, lambda engine: freed.append(engine))
        opened = Bundle(bundle)
        files = {name: opened.read(name) for name in opened.manifest.files} | {"spare.bin": b"for another machine"}
        write_bundle(bundle, opened.manifest, files)
        (bundle / "spare.bin").write_bytes(b"for another_machine")
        with pytest.raises(BundleError, match=r"spare\.bin was changed"):
            Predictor(bundle)
        assert len(freed) == 1


class TestWhereABundleLies:
    def write(self, path: Path, bundle: Path) -> Bundle:
        opened = Bundle(bundle)
        return write_bundle(path, opened.manifest, {name: opened.read(name) for name in opened.manifest.files})

    def test_a_link_stays_and_its_target_is_replaced(self, bundle, tmp_path):
        link = tmp_path / "current"
        link.symlink_to("small.bundle")
        (tmp_path / ".small.bundle.old").symlink_to("nowhere")  # left behind by somebody
        for _ in range(2):
            (bundle / "manifest.json").chmod(0o600)
            self.write(link, bundle)
            assert os.readlink(link) == "small.bundle"
            assert (bundle / "manifest.json").stat().st_mode & 0o777 == 0o644, "the target was written anew"
            assert sorted(entry.name for entry in tmp_path.iterdir()) == ["current", "small.bundle"]

    def test_a_link_to_nothing_gets_its_target(self, bundle, tmp_path):
        (tmp_path / "current").symlink_to(tmp_path / "v2")
        self.write(tmp_path / "current", bundle)
        assert (tmp_path / "current").is_symlink()
        Bundle(tmp_path / "v2").verify()

    def test_a_write_that_was_killed_between_its_two_steps_is_mended(self, bundle, tmp_path):
        old = tmp_path / ".robot.bundle.old"
        target = tmp_path / "robot.bundle"
        opened = Bundle(bundle)
        files = {name: opened.read(name) for name in opened.manifest.files}
        bundle.rename(old)
        with pytest.raises(BundleError) as error:
            Bundle(target)
        assert f"run: mv {old} {target}" in one_line(error)
        with pytest.raises(BundleError, match="cannot be a file of a bundle"):
            write_bundle(target, opened.manifest, {**files, "manifest.json": b""})
        assert Bundle(target).manifest == opened.manifest, "put back although nothing could be written"
        assert not old.exists()

    def test_a_folder_where_everybody_writes_is_refused(self, bundle, tmp_path):
        opened = Bundle(bundle)
        tmp_path.chmod(0o777)
        with pytest.raises(BundleError) as error:
            Bundle(bundle)
        assert f"run: chmod o-w {tmp_path}" in one_line(error)
        with pytest.raises(BundleError, match="writable by everybody"):
            write_bundle(tmp_path / "other.bundle", opened.manifest, {})
        tmp_path.chmod(0o1777)  # as /tmp is
        Bundle(bundle)

    def test_a_link_instead_of_a_file_is_told_as_a_link(self, bundle):
        (bundle / "model.json").rename(bundle.parent / "elsewhere")
        (bundle / "model.json").symlink_to(bundle.parent / "elsewhere")
        with pytest.raises(BundleError, match=r"model\.json is a symbolic link"):
            Bundle(bundle)

    @pytest.mark.parametrize("place", [".", "/"])
    def test_a_place_without_a_name_is_one_line(self, bundle, tmp_path, monkeypatch, place):
        (tmp_path / "notes.txt").write_text("precious")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(BundleError, match="is no bundle"):
            self.write(Path(place), bundle)

    def test_a_damaged_bundle_is_not_called_none(self, bundle):
        opened = Bundle(bundle)
        (bundle / "manifest.json").write_text("{")
        with pytest.raises(BundleError, match=r"its manifest\.json is damaged: remove it by hand if it was a bundle"):
            write_bundle(bundle, opened.manifest, {})


def test_a_class_id_without_a_name_is_refused(bundle):
    """Manifest and model.json can agree on fewer classes than the network gives."""
    predictor = Predictor(bundle)
    named = predictor.manifest.tasks["semantic"]
    fewer = replace(named, class_names=named.class_names[:1], palette=named.palette[:1])
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    top = int(predictor.predict(image)["semantic"].max())
    assert top > 0, "of no use to this test"
    predictor.manifest = replace(predictor.manifest, tasks={**predictor.manifest.tasks, "semantic": fewer})
    with pytest.raises(BundleError) as error:
        predictor.predict(image)
    assert f"class id {top} of 1 classes; rebuild the bundle" in one_line(error)
    predictor.predict(image, tasks=["depth"])

import hashlib
import http.server
import threading

import pytest

import kerasresnet as kr
from kerasresnet import downloads
from kerasresnet.downloads import MIRROR, address, download
from kerasresnet.releases import PublishedFile

CONTENT = bytes(range(256)) * 40
FILE = PublishedFile("tiny.h5", hashlib.md5(CONTENT).hexdigest())


class Server(http.server.ThreadingHTTPServer):
    """Serves one content; each answer may break off after some bytes."""

    daemon_threads = True

    def __init__(self, content=CONTENT, breaks=(), ranges=True, status=200):
        self.content, self.breaks, self.ranges = content, list(breaks), ranges
        self.status, self.asked = status, []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/files"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        span = self.headers.get("Range")
        self.server.asked.append(span)
        start = int(span[6:-1]) if span and self.server.ranges else 0
        content = self.server.content[start:]
        if span and start >= len(self.server.content):
            self.send_error(416)
            return
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        self.send_response(206 if start else 200)
        total = len(self.server.content)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        most = self.server.breaks.pop(0) if self.server.breaks else total
        self.wfile.write(content[:most])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Starts a server as the mirror."""
    started = []

    def start(**settings):
        server = Server(**settings)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((server, thread))
        monkeypatch.setenv(MIRROR, server.url)
        return server

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "_PAUSE", 0.0)
    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_whole_and_leaves_nothing_beside_it(serve, tmp_path, caplog):
    caplog.set_level("INFO", "kerasresnet.downloads")
    serve()
    path = download(FILE, tmp_path / "new" / "models")
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["tiny.h5"]
    assert "is complete: MD5" in caplog.text


def test_a_broken_download_goes_on_where_it_stopped(serve, tmp_path):
    server = serve(breaks=[3000, 2000])
    assert download(FILE, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-", "bytes=5000-"]


def test_a_later_call_goes_on_where_an_earlier_one_was_killed(serve, tmp_path):
    server = serve()
    (tmp_path / "tiny.h5.part").write_bytes(CONTENT[:4000])
    assert download(FILE, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=4000-"]
    assert names(tmp_path) == ["tiny.h5"]


def test_a_server_that_cannot_go_on_begins_again(serve, tmp_path):
    server = serve(breaks=[3000], ranges=False)
    assert download(FILE, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-"]


@pytest.mark.parametrize("rest", [b"another file", CONTENT + b"more"])
def test_the_rest_of_another_file_is_thrown_away(serve, tmp_path, rest):
    serve()
    (tmp_path / "tiny.h5.part").write_bytes(rest)
    assert download(FILE, tmp_path).read_bytes() == CONTENT


def test_a_connection_that_never_gets_on_ends_with_the_ways_on(serve, tmp_path):
    server = serve(breaks=[0] * 20)
    with pytest.raises(kr.WeightsError, match="the connection broke") as caught:
        download(FILE, tmp_path)
    assert len(server.asked) == downloads._ATTEMPTS
    for part in (FILE.url, FILE.md5, "weights import FILE", MIRROR, "weights=None"):
        assert part in str(caught.value)


def test_a_right_name_with_a_wrong_hash_is_refused(serve, tmp_path):
    serve(content=b"<html>Please log in</html>")
    with pytest.raises(kr.WeightsError, match="is not the published file: its MD5 is"):
        download(FILE, tmp_path)
    assert not (tmp_path / "tiny.h5").exists()
    assert names(tmp_path) == []


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (503, downloads._ATTEMPTS)])
def test_errors_of_a_server_are_told(serve, tmp_path, status, asked):
    server = serve(status=status)
    with pytest.raises(kr.WeightsError, match=f"could not be downloaded.*{status}"):
        download(FILE, tmp_path)
    assert len(server.asked) == asked


def test_a_file_that_is_too_large_is_refused(serve, tmp_path, monkeypatch):
    serve()
    small = PublishedFile("tiny.h5", FILE.md5, size=100)
    with pytest.raises(
        kr.WeightsError, match=r"has 10,240 bytes, expected 100 at most"
    ):
        download(small, tmp_path)
    monkeypatch.setattr(Handler, "send_header", lambda *_: None)
    with pytest.raises(kr.WeightsError, match="sent more than 100 bytes"):
        download(small, tmp_path)


def test_two_downloads_at_once_do_not_meet(serve, tmp_path):
    server = serve()
    with downloads._partial(tmp_path / "tiny.h5") as (stream, _):
        stream.write(CONTENT[:100])
        stream.flush()
        assert download(FILE, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None]
    assert names(tmp_path) == ["tiny.h5", "tiny.h5.part"]


def test_a_lock_on_a_file_that_was_just_renamed_is_no_lock(tmp_path, monkeypatch):
    part = tmp_path / "tiny.h5.part"

    def rename_first(stream, _):
        part.rename(tmp_path / "tiny.h5")
        part.write_bytes(b"of another process")

    monkeypatch.setattr(downloads.fcntl, "flock", rename_first)
    assert downloads._locked(part) is None


def test_a_mirror_may_be_a_folder_or_an_address_of_one(tmp_path, monkeypatch):
    mirror = tmp_path / "a mirror"
    mirror.mkdir()
    (mirror / "tiny.h5").write_bytes(CONTENT)
    for number, place in enumerate((str(mirror), mirror.as_uri(), f"{mirror}/")):
        monkeypatch.setenv(MIRROR, place)
        assert download(FILE, tmp_path / str(number)).read_bytes() == CONTENT


def test_a_wrong_file_in_a_mirror_is_blamed_on_the_mirror(tmp_path, monkeypatch):
    (tmp_path / "tiny.h5").write_bytes(b"another file")
    for place in (str(tmp_path), tmp_path.as_uri()):
        monkeypatch.setenv(MIRROR, place)
        with pytest.raises(
            kr.WeightsError, match="in the mirror is not the pub"
        ) as caught:
            download(FILE, tmp_path / "models")
        assert "proxy" not in str(caught.value)
    assert names(tmp_path / "models") == []


def test_a_mirror_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(MIRROR, str(tmp_path / "absent"))
    with pytest.raises(kr.WeightsError, match=f"from the mirror .*absent .*{MIRROR}"):
        download(FILE, tmp_path / "models")
    assert names(tmp_path / "models") == []
    monkeypatch.setenv(MIRROR, "ftp://example.org/")
    with pytest.raises(kr.WeightsError, match="must be an address that begins with h"):
        download(FILE, tmp_path / "models")


def test_without_a_mirror_the_publisher_is_asked(monkeypatch):
    monkeypatch.delenv(MIRROR, raising=False)
    assert address(FILE) == FILE.url
    monkeypatch.setenv(MIRROR, "https://mirror.example.org/weights/")
    assert address(FILE) == "https://mirror.example.org/weights/tiny.h5"


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(
    serve, tmp_path, monkeypatch
):
    serve()
    (tmp_path / "file").touch()
    with pytest.raises(kr.WeightsError, match=r"file cannot be written .*KERAS_HOME"):
        download(FILE, tmp_path / "file")

    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(downloads, "_locked", read_only)
    with pytest.raises(kr.WeightsError, match="Read-only file system"):
        download(FILE, tmp_path)


def test_a_full_disk_is_no_matter_of_the_network(serve, tmp_path, monkeypatch):
    server = serve()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "_copy", full)
    with pytest.raises(kr.WeightsError, match="No space left on device"):
        download(FILE, tmp_path)
    assert server.asked == [None]

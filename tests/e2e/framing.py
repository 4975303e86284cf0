# SPDX-License-Identifier: Apache-2.0
"""Framing vectors (assurance.md, S-01): requests that a strict parser must refuse, by class, and some
that it must take. A vector is whole for a parser that is lenient enough to take it, so that what follows
it on the connection would be read as the next request. tools/framing-grid shows the same to other servers."""

P = b"/healthz"
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TARGET = b"-._~:/?[]@!$&'()*+,;=%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def request(line=b"GET /healthz HTTP/1.1", headers=(b"Host: x",), body=b"", end=b"\r\n"):
    return line + end + b"".join(h + end for h in headers) + end + body


def with_header(*lines, line=b"GET /healthz HTTP/1.1", body=b""):
    return request(line, (b"Host: x",) + lines, body)


def request_lines():
    for byte in range(256):
        if bytes([byte]) not in (b" ", b"\r", b"\n") and byte not in TARGET:
            yield b"GET /he" + bytes([byte]) + b"althz HTTP/1.1"
    for byte in range(256):
        if byte not in TOKEN and bytes([byte]) not in (b" ", b"\r", b"\n"):
            yield b"GE" + bytes([byte]) + b"T /healthz HTTP/1.1"
    for version in (b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/1", b"HTTP/1.", b"HTTP/01.1", b"HTTP/1.01",
                    b"HTTP/1.10", b"http/1.1", b"HTTP 1.1", b"HTTP/1,1", b"HTTP/+1.1", b"HTTP/1.1 ", b"HTTP/1.1\t", b" HTTP/1.1",
                    b"HTTPS/1.1", b"HTTP/3.0", b"HTTP/9.9", b"HTTP/1.1HTTP/1.1", b"ICY/1.1", b"HTTP/-1.1", b"HTTP/1.-1", b""):
        yield b"GET /healthz " + version
    for line in (b"GET /healthz", b"GET", b"GET  /healthz HTTP/1.1", b"GET\t/healthz HTTP/1.1", b"GET /healthz\tHTTP/1.1",
                 b" GET /healthz HTTP/1.1", b"\tGET /healthz HTTP/1.1", b"GET /health z HTTP/1.1", b"GET /healthz  HTTP/1.1",
                 b"GET healthz HTTP/1.1", b"GET \\healthz HTTP/1.1", b"GET * HTTP/1.1", b"GET x:80 HTTP/1.1",
                 b"CONNECT x:80 HTTP/1.1", b"GET https://x/healthz HTTP/1.1", b"GET ftp://x/healthz HTTP/1.1",
                 b"GET http:///healthz HTTP/1.1", b"GET http:/healthz HTTP/1.1", b"GET http://u@x/healthz HTTP/1.1",
                 b"GET http://u:p@x/healthz HTTP/1.1", b"GET http:// HTTP/1.1", b"GET http://x y/ HTTP/1.1", b": / HTTP/1.1",
                 b"GET /healthz#fragment HTTP/1.1", b"GET ?q HTTP/1.1", b"GET ../healthz HTTP/1.1", b"GET . HTTP/1.1"):
        yield line


def header_lines():
    for byte in range(256):
        if byte not in TOKEN and bytes([byte]) not in (b":", b"\r", b"\n"):
            yield b"X-" + bytes([byte]) + b"y: v"
    for byte in list(range(0, 32)) + [127]:
        if bytes([byte]) not in (b"\t", b"\r", b"\n"):
            yield b"X-y: a" + bytes([byte]) + b"b"
    for line in (b": v", b"novalue", b" leading: v", b"\tleading: v", b"X-y : v", b"X-y\t: v", b"X y: v", b"X-y: v\r\n folded",
                 b"X-y: v\r\n\tfolded", b"X-y:\r\n v", b"X-y: v\r\n \r\n", b" Host: y", b"=: v", b"X-y; v", b"\xef\xbb\xbfX: v"):
        yield line


def bare_line_ends():
    good = request()
    for at in [i for i in range(len(good)) if good[i:i + 2] == b"\r\n"]:
        yield good[:at] + b"\n" + good[at + 2:]  # LF alone
        if at < len(good) - 2:  # else the head has not ended
            yield good[:at] + b"\r" + good[at + 2:]  # CR alone
        yield good[:at] + b"\r\r\n" + good[at + 2:]
        if at < len(good) - 2:
            yield good[:at] + b"\rX" + good[at + 2:]  # CR and another byte
            yield good[:at] + b"\r\xfd" + good[at + 2:]
        yield good[:at] + b"\n\r" + good[at + 2:]
    yield request(end=b"\n")
    yield request(end=b"\r")
    for value in (b"a\rb", b"a\nb", b"a\rX-z: w", b"a\nX-z: w", b"\r", b"\n", b"a\r", b"a\n", b"a\n b", b"a\nTransfer-Encoding: chunked"):
        yield with_header(b"X-y: " + value)
    for start in (b"\r\n", b"\n", b"\r\n\r\n", b"\r", b"\0", b" ", b"\t"):
        yield start + good


def hosts():
    yield request(headers=())
    yield request(headers=(b"X: y",))
    yield request(headers=(b"Host: x", b"Host: x"))
    yield request(headers=(b"Host: x", b"Host: y"))
    yield request(headers=(b"Host: x", b"HOST: y"))
    yield request(headers=(b"host: x", b"Host: "))
    yield request(line=b"GET /healthz HTTP/1.0", headers=(b"Host: x", b"Host: y"))
    yield request(line=b"GET http://x/healthz HTTP/1.1", headers=())
    for value in (b"", b" ", b"\t", b"x y", b"x,y", b"x/y", b"x?y", b"x#y", b"u@x", b"u:p@x", b"\"x\"", b"<x>", b"x\\y", b"x|y", b"x^y",
                  b"x{y", b"x}y", b"\xe4", b"x\x80", b"http://x"):
        yield request(headers=(b"Host: " + value,))


def lengths():
    inner = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    values = (b"", b" ", b"+0", b"-0", b"-1", b"00", b"000", b"01", b"0x0", b"0x10", b"1e1", b"1.0", b"0,0", b"0, 0", b"5,5", b"5, 6", b"0;0",
              b"\"0\"", b"'0'", b"0 0", b"0\t0", b"abc", b"0a", b"a0", b"NaN", b"18446744073709551615", b"18446744073709551616",
              b"99999999999999999999999999", b"9223372036854775808", b"\xef\xbc\x90", b"0_0", b"5 ;", b"#5", b"+5", b"5\x00")
    for value in values:
        yield with_header(b"Content-Length: " + value)
    for method in (b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"LOCK"):
        for length in (1, 5, len(inner)):
            body = inner[:length]
            yield with_header(b"Content-Length: %d" % length, line=method + b" /healthz HTTP/1.1", body=body)
    for a, b in ((b"0", b"0"), (b"0", b"5"), (b"5", b"0"), (b"5", b"5"), (b"0", b""), (b"", b"0"), (b"0", b"x")):
        yield with_header(b"Content-Length: " + a, b"Content-Length: " + b)
        yield with_header(b"Content-Length: " + a, b"content-length: " + b)
    for name in (b"Content-Length ", b" Content-Length", b"Content-Length\t", b"Content-Length\x00", b"Content-Length\x0b", b"Content Length"):
        yield with_header(name + b": 5", body=b"GET /")


def transfer_codings():
    chunked = b"0\r\n\r\n"
    values = (b"chunked", b"Chunked", b"CHUNKED", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked",
              b"chunked, identity", b"identity, chunked", b" chunked", b"\tchunked", b"chunked ", b"chunked\t", b"x", b"", b"\"chunked\"",
              b"chunked;q=1", b"chunked;a=b", b"xchunked", b"chunkedx", b",chunked", b"chunked,", b",", b"chun\x0bked", b"\x0bchunked",
              b"cow", b"chunked\r\n , identity", b"deflate, chunked", b"trailers")
    for value in values:
        yield with_header(b"Transfer-Encoding: " + value, body=chunked)
    for line in (b"transfer-encoding: chunked", b"TRANSFER-ENCODING: chunked", b"Transfer-Encoding:chunked", b"Transfer-Encoding : chunked",
                 b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked", b"Transfer_Encoding : chunked",
                 b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked",
                 b"Transfer-Encoding:\x0bchunked", b"X: y\r\n Transfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked",
                 b"X: y\rTransfer-Encoding: chunked", b"Transfer-Encoding\x00: chunked", b"Transfer-Encoding: chunked\x00"):
        yield with_header(line, body=chunked)
    for method in (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE"):
        for length in (b"0", b"5", b"6", b"40"):
            yield with_header(b"Content-Length: " + length, b"Transfer-Encoding: chunked", line=method + b" /healthz HTTP/1.1", body=chunked)
            yield with_header(b"Transfer-Encoding: chunked", b"Content-Length: " + length, line=method + b" /healthz HTTP/1.1", body=chunked)
    for size in (b"0;ext=1", b"00", b"+0", b"-0", b"0x0", b" 0", b"0 ", b"ffffffffffffffff", b"g", b"", b"0;\nX", b"0\r\nX: y"):
        yield with_header(b"Transfer-Encoding: chunked", line=b"POST /healthz HTTP/1.1", body=size + b"\r\n\r\n")


def expectations():
    for value in (b"100-continue", b"100-Continue", b"200-ok", b"", b"x", b"100-continue, x"):
        yield with_header(b"Expect: " + value)
        yield with_header(b"Expect: " + value, b"Content-Length: 0")


def sizes():
    yield request(line=b"GET /" + b"a" * 8192 + b" HTTP/1.1")
    yield request(line=b"GET /" + b"a" * 12000 + b" HTTP/1.1")
    yield request(line=b"G" * 9000 + b" / HTTP/1.1")
    yield with_header(b"X-y: " + b"a" * 17000)
    yield with_header(*[b"X-%d: " % i + b"a" * 600 for i in range(30)])
    yield with_header(*[b"X-%d: v" % i for i in range(64)])
    yield with_header(*[b"X-%d: v" % i for i in range(200)])
    yield with_header(b"X" * 17000 + b": v")
    yield with_header(b"Authorization: Bearer a", b"Authorization: Bearer b")
    yield with_header(b"Origin: http://a", b"Origin: http://b")


CLASSES = {
    "request line": lambda: (request(line=line) for line in request_lines()),
    "header line": lambda: (with_header(line) for line in header_lines()),
    "line ends": bare_line_ends, "host": hosts, "content length": lengths,
    "transfer coding": transfer_codings, "expect": expectations, "size": sizes,
}


def refused():
    """(class, vector) for all that must be refused."""
    return [(name, vector) for name, make in CLASSES.items() for vector in make()]


def accepted():
    """Vectors that must be answered, each with one 2xx, and leave the connection open."""
    yield request()
    yield with_header(b"Content-Length: 0")
    yield with_header(b"X-y:v")
    yield with_header(b"X-y: \t v \t ")
    yield with_header(b"X-y:")
    yield with_header(b"x-y: \xe4\xf6")
    yield with_header(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings")
    yield with_header(b"TE: trailers")
    yield with_header(b"Connection: keep-alive")
    yield with_header(*[b"X-%d: v" % i for i in range(63)])
    yield with_header(b"Accept: a", b"Accept: b", b"X-Request-Id: aaaaaaaa", b"X-Request-Id: bbbbbbbb")
    yield request(headers=(b"hOsT: [::1]:80",))
    yield request(line=b"GET http://y/healthz HTTP/1.1")
    yield request(line=b"GET HTTP://y:80/healthz?q HTTP/1.1")
    yield request(line=b"GET /%68ealthz HTTP/1.1")
    yield request(line=b"GET /healthz?" + b"a" * 8100 + b" HTTP/1.1")
    yield request(line=b"OPTIONS * HTTP/1.1")
    yield request(line=b"OPTIONS /nowhere HTTP/1.1")

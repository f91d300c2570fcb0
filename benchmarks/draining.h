/* What the drains have in common: one connection read through one large buffer, and one
 * file to which bodies may be appended, with an fdatasync after every 100 messages or 1 MB,
 * whichever comes first. Whatever goes wrong ends the program with a word on stderr. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 1 << 20, SYNC_MESSAGES = 100, SYNC_OCTETS = 1 << 20 };

static int server;
static char in[BUFFER];
static size_t in_start, in_end;

static int out = -1;
static char out_buffer[BUFFER];
static size_t out_fill;

static void fail(const char *what) {
    fprintf(stderr, "drain: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static void connect_to(const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int one = 1;
    if (getaddrinfo(host, port, &hints, &found) != 0) fail("no such host");
    server = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (server < 0 || connect(server, found->ai_addr, found->ai_addrlen) != 0) fail("connect");
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    freeaddrinfo(found);
}

/* Adds what has come to the buffer, which must have room. */
static void receive(void) {
    memmove(in, in + in_start, in_end - in_start);
    in_end -= in_start;
    in_start = 0;
    ssize_t got = recv(server, in + in_end, sizeof in - in_end, 0);
    if (got < 0) fail("recv");
    if (got == 0) errno = 0, fail("the server closed the connection");
    in_end += (size_t)got;
}

/* The next line, or the next part of one longer than the buffer; *whole says which. */
static char *next_line(size_t *size, int *whole) {
    for (;;) {
        char *line = in + in_start;
        char *end = memchr(line, '\n', in_end - in_start);
        if (end != NULL || in_end - in_start == sizeof in) {
            *whole = end != NULL;
            *size = end != NULL ? (size_t)(end - line) + 1 : in_end - in_start;
            in_start += *size;
            return line;
        }
        receive();
    }
}

static void write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) fail("write");
        data += done;
        size -= (size_t)done;
    }
}

static void keep_in(const char *path) {
    out = path != NULL ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    if (out < 0) fail("FILE");
}

static void flush_out(int sync) {
    if (out < 0) return;
    write_all(out, out_buffer, out_fill);
    out_fill = 0;
    if (sync && fdatasync(out) != 0) fail("fdatasync");
}

/* A part of a body, never larger than the buffer. */
static void keep(const char *data, size_t size) {
    if (out < 0) return;
    if (size > sizeof out_buffer - out_fill) flush_out(0);
    memcpy(out_buffer + out_fill, data, size);
    out_fill += size;
}

/* The end of a body of so many octets. */
static void kept(unsigned long long octets) {
    static unsigned long long unsynced, unsynced_messages;
    unsynced += octets;
    unsynced_messages++;
    if (unsynced_messages < SYNC_MESSAGES && unsynced < SYNC_OCTETS) return;
    flush_out(1);
    unsynced = unsynced_messages = 0;
}

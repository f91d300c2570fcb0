/* The limit: a POP3 client that only drains the server.
 *
 *   drain HOST PORT USER PASSWORD MODE WINDOW [FILE]
 *
 * MODE  retr     RETR everything, at most WINDOW commands unanswered, keep nothing
 *       durable  the same, dot-stuffing undone, appended to FILE with an fdatasync
 *                after every 100 messages or 1 MB, whichever comes first, and at the end
 *       uidl     UIDL only
 *
 * Prints "MESSAGES OCTETS" (octets of the bodies, or of the listing's lines) and
 * exits 0 when all messages that STAT announced came and no octet less, 1 otherwise. A window
 * of a few thousand commands fits into the socket's buffers; more could block both ends.
 */

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

enum { BUFFER = 1 << 20, SYNC_MESSAGES = 100, SYNC_OCTETS = 1 << 20, WINDOW_MAX = 4096 };

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

static void write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) fail("write");
        data += done;
        size -= (size_t)done;
    }
}

static void flush_out(int sync) {
    write_all(out, out_buffer, out_fill);
    out_fill = 0;
    if (sync && fdatasync(out) != 0) fail("fdatasync");
}

static void keep(const char *data, size_t size) {
    if (out < 0) return;
    if (size > sizeof out_buffer - out_fill) flush_out(0); /* a line never exceeds the buffer */
    memcpy(out_buffer + out_fill, data, size);
    out_fill += size;
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
        memmove(in, line, in_end - in_start);
        in_end -= in_start;
        in_start = 0;
        ssize_t got = recv(server, in + in_end, sizeof in - in_end, 0);
        if (got < 0) fail("recv");
        if (got == 0) errno = 0, fail("the server closed the connection");
        in_end += (size_t)got;
    }
}

static char *expect_ok(void) {
    static char status[512];
    size_t size;
    int whole;
    char *line = next_line(&size, &whole);
    snprintf(status, sizeof status, "%.*s", (int)(size < 500 ? size : 500), line);
    errno = 0;
    if (strncmp(status, "+OK", 3) != 0) fail(status);
    return status;
}

static char *ask(const char *verb, const char *argument) {
    char command[600];
    int size = snprintf(command, sizeof command, "%s%s%s\r\n", verb, *argument ? " " : "", argument);
    write_all(server, command, (size_t)size);
    return expect_ok();
}

/* Reads one dot-terminated reply (RFC 1939 section 3) and returns its octets. */
static unsigned long long take_body(unsigned long long *lines) {
    unsigned long long octets = 0;
    int at_start = 1, whole;
    size_t size;
    for (;;) {
        char *line = next_line(&size, &whole);
        if (at_start && size == 3 && memcmp(line, ".\r\n", 3) == 0) return octets;
        if (at_start && *line == '.') line++, size--;
        keep(line, size);
        octets += size;
        *lines += (unsigned)whole;
        at_start = whole;
    }
}

static void send_commands(unsigned long *sent, unsigned long until) {
    static char commands[WINDOW_MAX * 24];
    size_t size = 0;
    while (*sent < until) size += (size_t)sprintf(commands + size, "RETR %lu\r\n", ++*sent);
    write_all(server, commands, size);
}

static unsigned long long drain(unsigned long total, unsigned long window) {
    unsigned long long octets = 0, lines = 0, unsynced = 0;
    unsigned long sent = 0, taken = 0, unsynced_messages = 0;
    while (taken < total) {
        unsigned long until = taken + window < total ? taken + window : total;
        /* Top up when a quarter of the window is free or nothing more is to be read at once. */
        if (until - sent >= (window + 3) / 4 || (until > sent && in_start == in_end))
            send_commands(&sent, until);
        expect_ok();
        unsigned long long body = take_body(&lines);
        octets += body;
        unsynced += body;
        taken++;
        unsynced_messages++;
        if (out >= 0 && (unsynced_messages >= SYNC_MESSAGES || unsynced >= SYNC_OCTETS)) {
            flush_out(1);
            unsynced = unsynced_messages = 0;
        }
    }
    if (out >= 0) flush_out(1);
    return octets;
}

int main(int argc, char **argv) {
    unsigned long long octets = 0, messages = 0, announced_octets = 0;
    unsigned long announced = 0, window;
    if (argc < 7) fail("usage: drain HOST PORT USER PASSWORD retr|durable|uidl WINDOW [FILE]");
    window = strtoul(argv[6], NULL, 10);
    if (window < 1 || window > WINDOW_MAX) fail("the window is 1 to 4096");
    if (strcmp(argv[5], "durable") == 0) {
        out = argc > 7 ? open(argv[7], O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
        if (out < 0) fail("FILE");
    }
    connect_to(argv[1], argv[2]);
    expect_ok();
    ask("USER", argv[3]);
    ask("PASS", argv[4]);
    if (strcmp(argv[5], "uidl") == 0) {
        ask("UIDL", "");
        octets = take_body(&messages);
    } else {
        if (sscanf(ask("STAT", ""), "+OK %lu %llu", &announced, &announced_octets) != 2)
            fail("STAT");
        octets = drain(announced, window);
        messages = announced;
    }
    ask("QUIT", "");
    printf("%llu %llu\n", messages, octets);
    errno = 0;
    if (octets < announced_octets) fail("fewer octets than STAT announced");
    return 0;
}

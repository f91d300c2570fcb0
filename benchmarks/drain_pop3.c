/* The limit over POP3: a client that only drains the server.
 *
 *   drain_pop3 HOST PORT USER PASSWORD MODE WINDOW [FILE]
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

#include "draining.h"

enum { WINDOW_MAX = 4096 };

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
    unsigned long long octets = 0, lines = 0;
    unsigned long sent = 0, taken = 0;
    while (taken < total) {
        unsigned long until = taken + window < total ? taken + window : total;
        /* Top up when a quarter of the window is free or nothing more is to be read at once. */
        if (until - sent >= (window + 3) / 4 || (until > sent && in_start == in_end))
            send_commands(&sent, until);
        expect_ok();
        unsigned long long body = take_body(&lines);
        octets += body;
        taken++;
        kept(body);
    }
    flush_out(1);
    return octets;
}

int main(int argc, char **argv) {
    unsigned long long octets = 0, messages = 0, announced_octets = 0;
    unsigned long announced = 0, window;
    if (argc < 7) fail("usage: drain_pop3 HOST PORT USER PASSWORD retr|durable|uidl WINDOW [FILE]");
    window = strtoul(argv[6], NULL, 10);
    if (window < 1 || window > WINDOW_MAX) fail("the window is 1 to 4096");
    if (strcmp(argv[5], "durable") == 0) keep_in(argc > 7 ? argv[7] : NULL);
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

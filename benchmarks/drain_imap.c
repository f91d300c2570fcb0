/* The limit over IMAP: a client that only drains the server.
 *
 *   drain_imap HOST PORT USER PASSWORD MODE FILE MAILBOX...
 *
 * MODE  fetch     EXAMINE each mailbox and fetch everything in it, with FLAGS and
 *                 INTERNALDATE as a mirror needs them; keep nothing (FILE is then unused)
 *       durable   the same, the bodies appended to FILE with an fdatasync after every
 *                 100 messages or 1 MB, whichever comes first, and at the end
 *       status    only ask what each mailbox holds, all of them in one command
 *
 * After the login everything is asked for at once, so a mailbox costs no round trip.
 * Prints "MESSAGES OCTETS" (octets of the bodies) and exits 0 when every message that
 * EXAMINE announced came with a body, 1 otherwise. A mailbox is named in ASCII without
 * quotes or backslashes.
 */

#include "draining.h"

enum { RESPONSE_MAX = 8192, COMMANDS_MAX = 1 << 16 };

static const char STATUS[] =
    "LIST \"\" \"*\" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))\r\n";

static unsigned long long announced, messages, octets;

/* The octets of the literal that a response line announces at its end, or -1. */
static long long literal_after(const char *line, size_t size) {
    const char *end = line + size - 3, *start = end; /* at "}\r\n" */
    unsigned long long value = 0;
    if (size < 5 || memcmp(end, "}\r\n", 3) != 0) return -1;
    while (start > line && start[-1] >= '0' && start[-1] <= '9') start--;
    if (start == line || start == end || start[-1] != '{') return -1;
    while (start < end) value = value * 10 + (unsigned)(*start++ - '0');
    return (long long)value;
}

static void take_literal(unsigned long long size) {
    unsigned long long left = size;
    octets += size;
    while (left > 0) {
        if (in_start == in_end) receive();
        size_t here = in_end - in_start < left ? in_end - in_start : (size_t)left;
        keep(in + in_start, here);
        in_start += here;
        left -= here;
    }
    kept(size);
}

/* Reads one response with its literals; returns its first line without the line's end. */
static char *take_response(void) {
    static char response[RESPONSE_MAX];
    char *words = response;
    for (;;) {
        size_t size;
        int whole;
        char *line = next_line(&size, &whole);
        if (!whole || size >= sizeof response) errno = 0, fail("a response is too long");
        long long literal = literal_after(line, size);
        if (words != NULL) snprintf(words, sizeof response, "%.*s", (int)size, line);
        words = NULL; /* what follows a literal is not looked at */
        if (literal < 0) break;
        take_literal((unsigned long long)literal);
    }
    response[strcspn(response, "\r\n")] = '\0';
    return response;
}

static void count(const char *response) {
    const char *found;
    unsigned long long number;
    char kind[16];
    if (sscanf(response, "* %llu %15s", &number, kind) == 2) {
        if (strcmp(kind, "EXISTS") == 0) announced += number;
        if (strcmp(kind, "FETCH") == 0 && strstr(response, "BODY[] ") != NULL) messages++;
    }
    if (strncmp(response, "* STATUS ", 9) == 0 && (found = strstr(response, "(MESSAGES ")) != NULL)
        messages += strtoull(found + strlen("(MESSAGES "), NULL, 10);
}

/* Reads on until the command of this tag is answered. */
static void await_answer(const char *tag) {
    for (;;) {
        char *response = take_response();
        size_t size = strlen(tag);
        count(response);
        if (strncmp(response, "* BYE", 5) == 0 && *tag != 'z') errno = 0, fail(response);
        if (strncmp(response, tag, size) != 0 || response[size] != ' ') continue;
        errno = 0;
        if (strncmp(response + size, " OK", 3) != 0) fail(response);
        return;
    }
}

static void ask(const char *tag, const char *command) {
    char line[1200];
    int size = snprintf(line, sizeof line, "%s %s", tag, command);
    write_all(server, line, (size_t)size);
    await_answer(tag);
}

static void fetch(char **mailboxes, int many) {
    static char commands[COMMANDS_MAX];
    char tag[16];
    size_t size = 0;
    for (int i = 0; i < many; i++) {
        size += (size_t)snprintf(commands + size, sizeof commands - size,
                                 "e%d EXAMINE \"%s\"\r\n"
                                 "f%d UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n",
                                 i, mailboxes[i], i);
        if (size >= sizeof commands) errno = 0, fail("too many mailboxes");
    }
    write_all(server, commands, size);
    for (int i = 0; i < many; i++) {
        snprintf(tag, sizeof tag, "e%d", i);
        await_answer(tag);
        snprintf(tag, sizeof tag, "f%d", i);
        await_answer(tag);
    }
    flush_out(1);
}

int main(int argc, char **argv) {
    char login[1000];
    if (argc < 8)
        fail("usage: drain_imap HOST PORT USER PASSWORD fetch|durable|status FILE MAILBOX...");
    if (strcmp(argv[5], "durable") == 0) keep_in(argv[6]);
    connect_to(argv[1], argv[2]);
    take_response();
    snprintf(login, sizeof login, "LOGIN \"%s\" \"%s\"\r\n", argv[3], argv[4]);
    ask("a", login);
    if (strcmp(argv[5], "status") == 0)
        ask("s", STATUS);
    else
        fetch(argv + 7, argc - 7);
    ask("z", "LOGOUT\r\n");
    printf("%llu %llu\n", messages, octets);
    errno = 0;
    if (strcmp(argv[5], "status") != 0 && messages != announced)
        fail("fewer messages than EXAMINE announced");
    return 0;
}

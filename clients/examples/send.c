// SPDX-License-Identifier: MIT
//  send - sends one message and waits until it is durable.
//
//      cc send.c -o send $(pkg-config --cflags --libs tally)
//      ./send ipc:///run/tally/front mail acme "hello"

#include <stdio.h>
#include <string.h>
#include <tally.h>

int
main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: send ENDPOINT QUEUE TENANT BODY\n");
        return 64;
    }
    tally_client_t *client = tally_client_new(argv[1]);
    if (client == NULL) {
        perror("send");
        return 71;
    }
    tally_message_t message = {.body = argv[4], .body_bytes = strlen(argv[4])};
    tally_event_t event;
    int rc = tally_client_send_wait(client, argv[2], argv[3], &message, 1, 5000, &event);
    if (rc == 0 && event.repeated) {
        printf("confirmed\n");    // the first answer was lost on the way, and the number with it
    } else if (rc == 0) {
        printf("confirmed, message %llu\n", (unsigned long long)event.ids[0]);
    } else {
        fprintf(stderr, "send: %s: %s\n", tally_client_code_name(tally_client_code(client)),
                tally_client_text(client));
    }
    tally_client_destroy(&client);
    return rc == 0 ? 0 : 69;
}

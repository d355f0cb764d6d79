// SPDX-License-Identifier: MIT
//  fuzz_config - any bytes as a configuration file; and its first line as a flag's value.
//
//  covers: lib/config.c lib/nearest.c

#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/config.h"

static const tally_config_key_t keys[] = {
    {"front", "an endpoint", "ipc:///tmp/front", TALLY_CONFIG_TEXT, 0, 0},
    {"db", "a conninfo", NULL, TALLY_CONFIG_TEXT, 0, 0},
    {"credit", "a number", "4", TALLY_CONFIG_NUMBER, 1, 1000},
    {"offset-ms", "a number", NULL, TALLY_CONFIG_NUMBER, -1000, INT64_MAX},
    {0},
};

//  What was taken keeps the promises of its table.
static void
check_values(const tally_config_t *config)
{
    for (size_t i = 0; keys[i].name != NULL; i++) {
        const char *value = tally_config_get(config, keys[i].name);
        assert(tally_config_origin(config, keys[i].name) != NULL);
        if (keys[i].kind == TALLY_CONFIG_NUMBER && value != NULL) {
            int64_t number = tally_config_number(config, keys[i].name);
            assert(number >= keys[i].min && number <= keys[i].max);
        }
        for (; value != NULL && *value != '\0'; value++) {
            assert((unsigned char)*value >= 0x20 && *value != 0x7f);
        }
    }
}

static void
set_flags(tally_config_t *config, tally_bytes_t input)
{
    const char *end = memchr(input.data, '\n', input.size);
    char *value = tally_strndup(input.data, end == NULL ? input.size
                                                        : (size_t)(end - (const char *)input.data));
    for (size_t i = 0; keys[i].name != NULL; i++) {
        if (tally_config_set(config, keys[i].name, value) == 0) {
            assert(strcmp(tally_config_get(config, keys[i].name), value) == 0);
        }
    }
    if (tally_config_set(config, value, "1") == -1) {
        assert(*tally_config_errors(config) != '\0');
    }
    free(value);
}

void
fuzz_config(tally_bytes_t input)
{
    int fd = memfd_create("config", MFD_CLOEXEC);
    assert(fd != -1);
    assert(input.size == 0 || write(fd, input.data, input.size) == (ssize_t)input.size);
    char *path = tally_format("/proc/self/fd/%d", fd);
    tally_config_t *config = tally_config_new("tally-statistics", keys);
    if (tally_config_load(config, path) == -1) {
        assert(*tally_config_errors(config) != '\0');
    } else {
        assert(*tally_config_errors(config) == '\0');
    }
    check_values(config);
    if (input.size > 0) {
        set_flags(config, input);
        check_values(config);
    }
    tally_config_destroy(&config);
    free(path);
    close(fd);
}

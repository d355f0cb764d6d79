// SPDX-License-Identifier: MIT
//  rota - see rota.h.

#include "broker/rota.h"

tally_stream_t *
tally_rota_next(tally_list_t *rota)
{
    tally_link_t *link;
    while ((link = tally_list_first(rota)) != NULL) {
        tally_stream_t *stream = TALLY_OF(link, tally_stream_t, at_home);
        if (stream->deficit > 0) {
            return stream;
        }
        stream->deficit += (int64_t)stream->tenant->row.weight * TALLY_QUANTUM;
        if (stream->deficit > 0) {
            return stream;
        }
        tally_list_rotate(rota);
    }
    return NULL;
}

void
tally_rota_charge(tally_stream_t *stream, uint32_t messages)
{
    stream->deficit -= messages;
    if (stream->home == NULL) {
        return;
    }
    if (stream->deficit <= 0 && tally_list_first(stream->home) == &stream->at_home) {
        tally_list_rotate(stream->home);
    }
}

// How ranks stop together: an interrupt (core/signal.h) reaches one of them, or each at another
// moment, and a rank that leaves alone has failed for the others. Here all of them learn of it
// at the same call.
#ifndef EDT_DIST_STOP_VOTE_H
#define EDT_DIST_STOP_VOTE_H

#include <stdbool.h>

#include "dist/comm.h"

// Zeroed before the first vote; stays where it is until the last one has ended.
typedef struct edt_stop_vote {
    double n_interrupted;
    bool is_under_way;
} edt_stop_vote;

// All ranks of the host communicator `comm` make these calls together, and no other call of it
// between edt_stop_vote_next and edt_stop_vote_end. *out_stop is the same on all of them; where
// it is set, none leaves before all know. A NULL `comm` answers for this process.

// Starts a vote, which goes on beside the caller's work, and tells what the one before came to:
// a rank waits for another only where that is a whole round behind.
edt_status edt_stop_vote_next(edt_stop_vote *vote, edt_comm *comm, edt_error *err,
                              bool *out_stop);
// Ends the vote under way; false where there is none. To be called on the way out of an error,
// too: `vote` is written to until then.
edt_status edt_stop_vote_end(edt_stop_vote *vote, edt_comm *comm, edt_error *err,
                             bool *out_stop);
// Whether some rank is interrupted now.
edt_status edt_stop_vote_now(edt_comm *comm, edt_error *err, bool *out_stop);

#endif

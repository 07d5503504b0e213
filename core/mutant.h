/* Faults planted on purpose: each a mistake that is easy to make at its place. `make mutants`
 * builds with -DMUTANTS, selects one after the other by the environment (MUTANT=name), and fails
 * if the tests let any of them live. Without -DMUTANTS nothing of this is compiled.
 *
 * A site is one short line:  if (MUTANT(name)) ...   or   MUTANT(name) ? wrong : right */
#ifndef ANNEAL_CORE_MUTANT_H
#define ANNEAL_CORE_MUTANT_H

#define MUTANT_TABLE(X)                                                                              \
    /* joins and contexts */                                                                         \
    X(applied_by_context, "a removed dot that was not seen counts as applied")                       \
    X(drop_loser, "of concurrent writes the older is dropped where they meet")                             \
    X(forget_unseen, "removed dots that were not seen yet are forgotten")                            \
    X(keep_before, "a delta's write leaves the write right before it")                               \
    X(context_of_part, "what was removed claims all that came before it")                            \
    X(context_of_delta, "a delta of one origin claims all that its sender knows of any")             \
    X(context_of_cells, "an answer by cells is judged in those that it leaves out as well")          \
    X(digest_by_context, "a digest tells what its sender knows of, applied or not")                  \
    X(unnamed_kept, "what an answer no longer has, where it names an element, is kept")              \
    X(ignore_gap, "a delta is applied that does not continue what was")                              \
    X(half_answer, "an answer counts as applied, but a part of its content is left out")             \
    X(keep_learned_late, "what was learned since a pull was asked is not judged by the answer")      \
    X(cells_skip_floors, "an answer by cells leaves out floors where cells are equal")               \
    X(pull_skips_first, "a pull leaves out the first mutation beyond the asker's vector")            \
    X(cut_is_not_forgotten, "what is cut from the log is not noted as forgotten")                    \
    X(answer_not_forgotten, "what came by cells counts as named by the log")                         \
    X(tie_by_arrival, "equal clocks are told apart by the order in which replicas were met")         \
    X(clash_by_kind, "of two types at one key a fixed one is seen, not the newest")                  \
    X(clock_not_moved, "a clock is not moved by the clocks that it hears of")                        \
    X(clock_unbounded, "a peer's clock moves ours, however far it is ahead")                         \
    X(clock_kept, "the clock that a command held stays held after it")                               \
    X(flush_elements_only, "a flush removes what is there, not what is on its way")                  \
    X(flush_live_only, "a flush does not pass on floors of increments that are dead here")           \
    X(flush_by_names, "an answer by names leaves out what a flush removed")                          \
    /* counters */                                                                                   \
    X(floor_by_total, "of two floors the one with the greater total counts")                         \
    X(known_floor_dropped, "a floor that is ahead comes with what is known and forgotten, and is dropped with it") \
    X(floor_of_before, "a floor is taken from the total of what began after it")                     \
    X(floor_forgotten_early, "dead increments are forgotten before all have seen their reset")       \
    X(forget_touched, "dead increments are forgotten though they were touched since")                \
    X(push_others_increments, "a reset pushes the increments of others as well")                     \
    X(forgotten_returns, "an increment that was reset and forgotten counts again when it is heard of")\
    X(forgotten_kept, "an answer leaves increments that its sender has forgotten")                   \
    X(early_floor_dropped, "a floor that comes before what it resets is dropped")                    \
    X(floor_lowered, "a reset lowers a floor that is ahead of what it resets")                       \
    X(floor_ahead_forgotten, "a floor is forgotten before what it resets has come")                  \
    X(floor_ahead_dropped, "an answer drops a floor of what its sender never had")                   \
    X(floor_revives, "where a floor has come again, so may the increment that was forgotten")        \
    X(reset_keeps_fields, "a write of a field does not reset its increments")                        \
    X(rename_counts_twice, "a copy of a counter has the increments in its base, and again")          \
    /* dots */                                                                                       \
    X(dot_twice, "a DEL takes the dot of the mutation before it")                                    \
    X(same_incarnation, "a node that restarts is the same replica again")                            \
    X(epoch_of_before, "a node whose clock is behind takes the epoch of its process before, not a later one")\
    X(sadd_without_dot, "SADD of a member that is there takes no dot")                               \
    X(refused_nx_writes, "a SET NX that is refused is written all the same, and told to others")     \
    /* expiry */                                                                                     \
    X(ttl_rounded, "an expiry is rounded on its way")                                                \
    X(ttl_relative, "an expiry travels as what is left of it")                                       \
    X(shortest_expiry, "of concurrent expiries the shortest counts")                                 \
    X(persist_loses, "PERSIST loses against a concurrent expiry")                                    \
    X(set_keeps_ttl, "SET does not clear the expiry")                                                \
    X(expiry_stays, "the last member that goes leaves the expiry behind")                            \
    /* bookkeeping */                                                                                \
    X(cell_missed, "the sum of a cell is not kept when an expiry changes")                           \
    X(settle_in_passing, "what is empty is removed while its table is walked")                       \
    X(account_missed, "a value that is replaced stays in the account")                               \
    X(packed_floor, "what is reset where it lies packed loses its floor")                            \
    X(chunk_continues, "a chunk of the log relies on the one before it")                             \
    X(hint_lost, "an expiry that is put off is not looked at again")                                 \
    X(trust_length, "a length on the wire is believed")                                              \
    X(trust_index, "a dot is read whose replica the message does not name")                          \
    /* gossip */                                                                                     \
    X(ack_before_apply, "a peer counts as having all that it was sent")                              \
    X(ack_of_another_life, "acknowledgements after starting over count for what was lost by it")     \
    X(ack_own_only, "what is applied here counts as applied everywhere")                             \
    X(dead_still_asked, "who is dead is asked for what others have, at an address where another lives")  \
    X(accept_early, "a peer's vector counts before what it did by then is applied here")             \
    X(gone_stays, "a node that was declared gone goes on as if it were not")                         \
    X(half_is_enough, "half of the members may declare the other half gone")                         \
    X(gone_before_down, "a member is gone before it is down, and counts as alive for that")          \
    X(left_holds_nothing, "a member that left no longer counts, though it may still be heard")       \
    X(unsure_counts, "the word of a node whose disk fails counts for what may be forgotten")         \
    X(answer_of_another, "an answer is taken for the pull that is out, whichever it answers")        \
    X(answer_unseen, "a digest does not tell of what an answer brought")                             \
    X(pulls_out_for_ever, "who starts over still counts the pulls that it had out")                  \
    /* keeping */                                                                                    \
    X(commit_unwritten, "writes are acknowledged before they are on the disk")                       \
    X(came_upon_unlogged, "what an own mutation came upon is logged up to a second later")           \
    X(arriving_unlogged, "an own mutation is logged before what it came upon, which is about to be") \
    X(gap_unlogged, "what no longer is in the log of mutations is not logged by an image either")    \
    X(remote_unlogged, "mutations of others are not logged")                                         \
    X(recovered_unsynced, "what a process before wrote and did not sync is not synced when it is read")\
    X(covered_early, "logs are removed before the checkpoint that covers them is there")             \
    X(heal_early, "writes are taken again once a log can be written, without what the old one lacks")\
    X(rest_unsynced, "what is written while a new log begins counts as synced, and is not")           \
    X(sync_retried, "a sync that failed is tried again, and all is well if that one does not fail")   \
    X(lost_unsaid, "a new log begins though the old one failed, and nobody hears of it")              \
    X(members_unkept, "who is in the cluster is not kept")                                           \
    X(gone_returns, "a member declared gone is no longer, when its next process brings its state back")\
    /* streaming */                                                                                  \
    X(told_first, "what is to be streamed is noted after others were told of it")                    \
    X(answered_first, "what is to be streamed is not noted before an answer tells of it")            \
    X(reset_in_step, "what a node writes once it has started over is streamed in its old name")          \
    X(reset_unheld, "what is written while a node starts over counts as logged by the numbers of before") \
    X(end_collected, "the word that a node's stream was ended by others is garbage in time")             \
    X(strangers_closed, "the stream of one who is no member is ended, though it may live")              \
    X(strangers_hold_nothing, "resets are forgotten though the stream of one who is no member may go on") \
    X(closed_still, "who started over counts streams as read that it had read before")               \
    X(never_closed, "resets are forgotten while more may come of one that is gone, from the store")  \
    X(void_goes_on, "what is on the disk of a node whose stream was closed while it was down is not void") \
    X(void_passed_on, "what a node has at its start is streamed before it is told that it is void")   \
    X(parts_unstreamed, "a checkpoint names what its node has not streamed yet, and may never")       \
    X(claim_unchecked, "the number of a claim that was deleted can be claimed again")                \
    X(end_in_a_gap, "a stream counts as ended though its writer has gone on beyond that place")      \
    X(end_freed, "an end that another one follows is garbage while what it keeps out may be on its way")\
    X(void_named, "a checkpoint that was begun before its node started over is named all the same")  \
    X(nonce_ignored, "an object that a lost answer left in our place is taken for somebody else's")  \
    X(rest_unowed, "what the store lacks when a node starts is not streamed")                        \
    X(parts_forgotten, "a manifest no longer names what its images do not cover")                    \
    X(lists_trusted, "what is not listed yet is not there")                                         \
    X(collected_unread, "of what a process that is no more streamed, what a checkpoint covers is not read") \
    X(late_unread, "what is listed late of a process that is no more is not read")                   \
    X(unlisted_relied_on, "what went before an object is deleted before that is listed")             \
    X(newest_is_base, "what only the newest manifest covers is deleted at once")                     \
    /* clients */                                                                                    \
    X(fragment_lost, "what follows a command in its buffer is dropped with it")                      \
    X(unlock_unseen, "gossip hears only of the first write to a shard")                              \
    X(lock_first_alone, "a command on several keys locks the shard of the first alone")              \
    X(lock_of_another, "what is locked is what was located ahead, be it for another argument")       \
    X(lock_given_back, "a long copy gives the lock back in between, and goes on with what it found")

enum mutant {
    MUTANT_NONE,
#define X(name, what) MUTANT_##name,
    MUTANT_TABLE(X)
#undef X
    MUTANT_COUNT
};

#ifdef MUTANTS
extern enum mutant mutant_selected; /* before main */
#define MUTANT(name) (mutant_selected == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif

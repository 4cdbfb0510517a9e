//! Every bound of the engine: unit in the name, reason beside it.

use std::time::Duration;

/// Memory one command may use for rows in flight, in bytes, unless `--memory` says otherwise.
pub const MEMORY_BYTES_DEFAULT: usize = 512 << 20;
/// Below this the external sort would spill runs of a few hundred rows.
pub const MEMORY_BYTES_MIN: usize = 64 << 20;
/// What the program takes before it holds a row: its code, connections, a plan and an index of ordinary size.
pub const MEMORY_BYTES_BASE: usize = 32 << 20;
/// Rows on their way of one tenant at work: the row group that is decoded, the queues, the rows being written.
pub const TENANT_BYTES_ROWS: usize = 24 << 20;
/// Memory for keys of one tenant at work, at the least: with less, fewer tenants are at work.
pub const TENANT_BYTES_KEYS_MIN: usize = 8 << 20;

/// Bytes of memory that a number in a ledger takes: hash, number, and the gaps of an ordered map.
pub const LEDGER_ENTRY_BYTES: usize = 56;
/// Files of a ledger: each look-up tries all of them.
pub const LEDGER_RUNS_MAX: usize = 4;

/// Rows of one record batch: large enough to amortise per-batch work, small enough to keep a batch in cache.
pub const BATCH_ROWS_MAX: usize = 8_192;
/// Encoded bytes of one record batch: keeps a batch of wide rows within the memory bound.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Bytes of a COPY that wait for the next ones, so that a small table goes out in one piece: more is a row too large to
/// be held longer.
pub const PIECE_BYTES_HELD_MAX: usize = 2 * BATCH_BYTES_MAX;

/// Batches waiting between two stages; more only adds memory, the slower stage decides the speed.
pub const QUEUE_BATCHES_MAX: usize = 4;
/// Bytes waiting between two stages, what the second one works on included; a single larger batch waits alone.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Bytes that are decoded or encoded on the spot, in less than a millisecond: a hand-over to the computing pool and
/// back costs tens of microseconds and two switches, and the pool's threads spin while they look for work.
pub const COMPUTED_AT_ONCE_BYTES_MAX: usize = 256 << 10;

/// How far threads that read ahead step back behind others, as `nice` counts: the server may be on the same machine.
pub const READER_NICENESS: i32 = 10;

/// Blocks (8 kB) of one scan's TID range on PostgreSQL: 128 MB, so that a large table is shared by all
/// readers and the planning of a range costs nothing beside reading it.
pub const SCAN_CHUNK_BLOCKS: u64 = 16_384;

/// Encoded bytes of one data file: built in memory, hashed, then put with one create-only request.
pub const DATA_FILE_BYTES_MAX: usize = 32 << 20;
/// Rows of one row group: bounds what a reader must hold.
pub const ROW_GROUP_ROWS_MAX: usize = 65_536;
/// Row groups of a full data file, at the least: a reader fetches the wanted pages of one at once.
pub const ROW_GROUPS_OF_A_PART: usize = 4;
/// Rows of one data page: decoded at once, they stay in cache.
pub const DATA_PAGE_ROWS_MAX: usize = 8_192;
/// Bytes in wire form, for each column, of rows that are worth pages of their own. A tenant with fewer shares pages,
/// and reads up to so many bytes of others; smaller pages would cost more room than the rows.
pub const DATA_PAGE_COLUMN_BYTES_MIN: u64 = 512;

/// Sorted runs merged at once: bounds the open files and the read buffers of the external sort.
pub const MERGE_RUNS_MAX: usize = 64;

/// Bytes of one batch of a sorted run, at the least: smaller ones cost more in headers than they hold.
pub const RUN_BATCH_BYTES_MIN: usize = 8 << 10;

/// Bytes of one name in a store's path: file systems take 255, and a staged upload adds a suffix.
pub const PATH_SEGMENT_BYTES_MAX: usize = 200;
/// Share of a data file that is read from its end at once: holds the footer of an ordinary file. What is missing of
/// the offset index is read after it.
pub const FILE_TAIL_DIVISOR: u64 = 512;
/// Bytes read from a data file's end at the least; a file that is not larger is read as a whole.
pub const FILE_TAIL_BYTES_MIN: u64 = 8 << 10;
/// Memory for what one source keeps of the data files it has opened: a tenant's rows are in few files of each table.
pub const FILES_KEPT_BYTES_MAX: usize = 16 << 20;
/// Entries of a snapshot's tenant index: bounds what a hostile index makes a reader allocate.
pub const INDEX_ENTRIES_MAX: u64 = 16 << 20;
/// Bytes of one text in a tenant index, for the same reason.
pub const INDEX_TEXT_BYTES_MAX: usize = 1 << 10;
/// Store requests on the way at a time when many files are looked up.
pub const STORE_REQUESTS_MAX: usize = 8;
/// How long a snapshot without manifest is left alone: it may still be in the making.
pub const SNAPSHOT_INCOMPLETE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Days that a snapshot cannot be pruned, unless `--retain-days` says otherwise (the incident's policy).
pub const RETAIN_DAYS_DEFAULT: u32 = 30;

/// Tenants of one plan without a recorded reason: a typing error must stay small.
pub const TENANTS_MAX_DEFAULT: usize = 10;
/// Tenants that a list may hold at all; also bounds what is read from a hostile file.
pub const TENANTS_LIST_MAX: usize = 1_000_000;
/// Bytes of one tenant id.
pub const TENANT_ID_BYTES_MAX: usize = 256;
/// Bytes of a plan, manifest or configuration file that is read into memory.
pub const DOCUMENT_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a signature beside a plan: ten times those of the largest key.
pub const SIGNATURE_BYTES_MAX: u64 = 16 << 10;

/// Bytes of a tenant's tables that are read before their turn comes, as planned: small tables, whose reading would
/// otherwise stand between the round trips of the writing.
pub const READ_AHEAD_BYTES_MAX: u64 = 4 << 20;

/// Steps of tenants whose times an estimate looks at, the newest ones: a fleet of 883 with a few steps each, and quick
/// to fit some ten times over.
pub const ESTIMATE_SAMPLES_MAX: usize = 5_000;
/// Tenants restored at a time, unless `--jobs` says otherwise: a shard is shared, two connections fill two
/// cores.
pub const JOBS_DEFAULT: usize = 2;
/// Connections of one command to one shard, at the most.
pub const JOBS_MAX: usize = 64;

/// How long a statement may wait for a lock: the engine loses every lock fight with the neighbours.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long opening a connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is taken for alive without being asked: between two tenants no round trip is lost.
pub const CONNECTION_FRESH: Duration = Duration::from_millis(100);
/// Attempts to open a connection while the server is starting or full.
pub const CONNECT_ATTEMPTS_MAX: usize = 4;
/// Attempts of one tenant after an error that may pass (deadlock, lock time-out).
pub const TENANT_ATTEMPTS_MAX: usize = 4;
/// First pause between two attempts; doubles each time.
pub const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Steps that a sequence is moved by drawing from it; a longer way is jumped. Drawing can never take back a
/// number that a neighbour draws at the same moment, and no neighbour draws so many in the moment that a jump
/// takes.
pub const SEQUENCE_STEPS_MAX: i64 = 10_000;

/// Rows of which the columns that tell the owner are read at once: narrow, and most of them are dictionaries.
pub const KEY_ROWS_MAX: usize = 131_072;
/// Encoded bytes of an export's row group that are decoded at once; dictionaries and lengths make them several times as
/// large, and most rows are dropped afterwards.
pub const EXPORT_READ_BYTES_MAX: usize = 1 << 20;
/// Share of the memory of `snapshot import` for the keys by which rows without a tenant column find their owner.
pub const IMPORT_KEYS_DIVISOR: usize = 4;

/// Memory for the keys of one tenant while the engine proves them, in bytes: about a million distinct keys. A larger
/// tenant's keys are proved by the server, as its triggers would.
pub const KEY_PROOF_BYTES_MAX: usize = 32 << 20;
/// Keys of one "are these parents there?".
pub const KEYS_ASKED_MAX: usize = 8_192;

/// Parameters of one VALUES list on PostgreSQL (65,535 in its protocol): bounds the text that the server has to parse.
pub const VALUES_PARAMETERS_MAX: usize = 16_384;
/// Rows of one VALUES list, a power of two.
pub const VALUES_ROWS_MAX: usize = 512;

/// Tables of one "does the tenant have rows there?": few round trips for a thousand tables, and far below what
/// SQLite takes as one compound SELECT (500).
pub const TABLES_ASKED_MAX: usize = 200;

/// Rows that SQLite's thread may be ahead of their reader; more costs memory when rows are wide.
pub const SQLITE_ROWS_BUFFERED_MAX: usize = 128;
/// Rows of one INSERT on SQLite: the cost of a statement is spread over them.
pub const SQLITE_INSERT_ROWS_MAX: usize = 256;
/// Parameters of one statement on SQLite (SQLITE_MAX_VARIABLE_NUMBER of its default build).
pub const SQLITE_PARAMETERS_MAX: usize = 32_766;
/// Times that a tenant asks for SQLite's one write lock, each for [`LOCK_TIMEOUT`], before it counts as held:
/// neighbours hold it for moments only.
pub const SQLITE_CLAIM_ATTEMPTS_MAX: usize = 3;
/// How long a reader may wait for one of its own command's connections: as long as another stream takes.
pub const READER_WAIT: Duration = Duration::from_secs(86_400);

/// Rows of a sample that tells whether a supposed reference resolves: enough to tell 99 % from 95 %.
pub const PROBE_ROWS_MAX: u64 = 10_000;
/// Rows read for a sample where the database cannot pick rows by chance (many may hold NULL).
pub const PROBE_ROWS_READ_MAX: u64 = 100_000;
/// Levels that a row is followed upwards in its tree: rows that are above themselves have no end.
pub const PROBE_LEVELS_MAX: usize = 64;
/// Supposed references asked about in one statement.
pub const PROBES_ASKED_MAX: usize = 50;
/// How long one such statement may take: an answer that is not worth more is not given.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Kinds that a polymorphic reference may name; a column with more values holds something else.
pub const KINDS_MAX: usize = 64;
/// Rows of a table that are counted for the list of open questions; beyond it is "more".
pub const ROWS_COUNTED_MAX: u64 = 100_000;
/// Tenant ids that are fetched to see whether another shard's column holds such ids.
pub const TENANTS_COMPARED_MAX: usize = 200_000;

/// Ways to an owner that one table may have: each is joined in every scan of it.
pub const OWNER_WAYS_MAX: usize = 64;

/// Memory of a set for each number in it, its empty places and its growing included.
pub const SET_ENTRY_BYTES: usize = 60;
/// Rows that come back with a new key and that a plan remembers by name; of others it only knows that they are there.
pub const CLAIMS_NAMED_MAX: usize = 1 << 16;
/// Memory for one reference that a plan has found no parent of so far, beside its texts.
pub const OPEN_REFERENCE_BYTES: usize = 320;
/// Pairs of tenants that a snapshot names for each foreign key that ties them together: the strongest.
pub const TIES_KEPT_MAX: usize = 1_000;
/// Disputed rows that a snapshot names for each table.
pub const DISPUTED_NAMED_MAX: usize = 5;

/// Differing rows that a verification names, for each table of a tenant.
pub const DIFFERENCES_NAMED_MAX: usize = 10;

/// Objects of a tenant's media copied at a time, unless the configuration says otherwise: each waits for the store most
/// of its time.
pub const MEDIA_PARALLEL_DEFAULT: usize = 8;
/// Objects copied at a time, at the most.
pub const MEDIA_PARALLEL_MAX: usize = 64;
/// Bytes of a file that are read at a time.
pub const MEDIA_FILE_PIECE_BYTES: u64 = 1 << 20;
/// Bytes of an object of a bucket that are asked for at a time, and put at a time: each request costs a round trip, and
/// S3 takes no parts smaller than 5 MiB.
pub const MEDIA_PART_BYTES: u64 = 8 << 20;
/// Parts of one object that S3 takes; beyond them, parts grow.
pub const MEDIA_PARTS_MAX: u64 = 10_000;
/// Files that a listing may be ahead of the copying.
pub const MEDIA_LISTED_MAX: usize = 1_024;
/// Failed objects of a tenant before no further ones are tried: by then something is wrong with all of them.
pub const MEDIA_FAILURES_MAX: usize = 100;
/// Failed objects that the error of a tenant's media names; progress names all.
pub const MEDIA_FAILURES_NAMED_MAX: usize = 3;
/// Characters of a store's answer that an error repeats.
pub const MEDIA_FAULT_CHARACTERS_MAX: usize = 400;
/// How long the piece under way may take when the copying is to stop.
pub const MEDIA_STOP_GRACE: Duration = Duration::from_secs(5);

/// How long a hook may take, unless the configuration says otherwise.
pub const HOOK_TIMEOUT_SECONDS_DEFAULT: u64 = 30;
/// How long a hook may take at all.
pub const HOOK_TIMEOUT_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Times that a hook is tried again, unless the configuration says otherwise.
pub const HOOK_RETRIES_DEFAULT: usize = 4;
/// Times that a hook is tried again, at the most.
pub const HOOK_RETRIES_MAX: usize = 100;
/// First pause before a hook is tried again; doubles each time.
pub const HOOK_RETRY_DELAY: Duration = Duration::from_millis(500);
/// The longest of these pauses.
pub const HOOK_RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// The longest pause that a server may ask for; one that asks for more is left to the operator.
pub const HOOK_RETRY_AFTER_MAX: Duration = Duration::from_secs(10 * 60);
/// Bytes of a hook's output that are kept.
pub const HOOK_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Characters of a failed hook's output that its error repeats.
pub const HOOK_FAULT_CHARACTERS_MAX: usize = 500;
/// How long a command that is to end may take after SIGTERM, and its output may stay open after its end.
pub const HOOK_END_GRACE: Duration = Duration::from_secs(2);

const _: () = assert!(BATCH_BYTES_MAX * QUEUE_BATCHES_MAX < MEMORY_BYTES_MIN);
const _: () = assert!(DATA_FILE_BYTES_MAX < MEMORY_BYTES_MIN);
/// Longest time of a check's query: long enough to read a tenant, too short to be in anybody's way for long.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a run looks for what was said to it from another terminal.
pub const CONTROL_POLL: Duration = Duration::from_millis(500);
/// Sites whose media, hooks and checks are at work beside those whose rows are being written.
pub const SITES_BESIDE_MAX: usize = 16;
/// How often a run says how long the rest will take.
pub const ETA_TOLD_EVERY: Duration = Duration::from_secs(15);

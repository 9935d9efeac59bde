// Package file is the sink that appends JSON lines to a file, or to stdout.
//
// The promise: what was accepted is on stable storage, and after a crash of
// the process or the machine no line stands in the file twice and none is cut
// in half. It holds for every format, because it does not rest on what the
// lines say: beside the file, "<path>.position" tells before each write what
// is about to be written (the journal, the last event before and after, the
// sizes before and after, a CRC of the bytes). At open, a write that is there
// whole counts, and one that is not is cut off. So every batch costs two
// fsyncs.
//
// Every line is one JSON object. The default format is envelope. With format
// raw a notification's own line ends become spaces, which in JSON mean the
// same; what is no JSON object is written as
// {"id":"<event id>","payload_base64":"..."}.
//
// A file that is renamed by others (logrotate) is left and a new one begun.
// Caveats: a follower of the file may have seen a half-written batch that is
// cut off after a crash, and sees its lines again. Truncating or editing the
// file from outside forfeits the promise for what was under way. Stdout is at
// least once and not synced.
package file

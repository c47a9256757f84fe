"""Sources: slices of files become documents, and what cannot be used becomes rejects.

    list_files(patterns)          -> list[FileEntry]      files, folders, globs; local or by URL
    inspect_source(files, spec)   -> SourceSpec           columns and types, once, at launch
    cut_unit(unit, spec)          -> list[Slice]          exact cuts of a large file
    read_slice(slice, spec, key)  -> Iterator[SliceBatch] documents and rejects

Rows are numbered from 0 within their file: by line in text and JSON lines, by record after the
header in CSV and TSV, by row in Parquet, by place in a JSON array. Blank lines of JSON lines are
no rows but keep their number; empty lines of CSV and TSV are no records and have none; a blank line
of plain text is a row, whose text is empty. Line ends are LF and CRLF; in CSV and TSV a lone CR
outside quotes too.
A byte order mark of UTF-8 is no part of the first row. Duplicate ids are not looked for.

A reject has one of these reasons, which do not change:

    reason           what was wrong                                           the row it stands for
    ---------------  -------------------------------------------------------  ---------------------
    missing_text     the text is null, or its column is not there             one row
    not_text         the text is a number, a list, an object, a boolean       one row
    empty_text       the text is empty or white space                         one row
    nul_byte         the text (of JSON lines: the line) holds a NUL byte      one row
    invalid_utf8     the row's bytes are not UTF-8                            one row
    too_large        text above max_document_bytes, or a record far above it  one row
    invalid_json     the line is no JSON, or nested more than 100 deep        one row
    not_object       the line is JSON, but no object                          one row
    duplicate_key    an object names a key twice                              one row
    carried_type     a value does not fit its column's type                   one row
    ragged_row       a CSV row with more or fewer fields than columns         one row
    unclosed_quote   a quoted field that does not end as it should            one line
    wide_encoding    the file is UTF-16 or UTF-32, another encoding was named  the whole file
    wrong_kind       the first bytes are of something else than the name says the whole file
    bad_header       the first line of a CSV file cannot be its header        the whole file
    damaged_file     compressed data or Parquet that is corrupt or cut short  the rest of the file,
                                                                              or, of a row group
                                                                              of Parquet, one row
    not_supported    Parquet that is whole, with what pyarrow does not read   the whole file, or,
                     (integers of 128 bits, LZO)                              of a row group, a row
    changed_file     the version that was listed is gone: replaced, or        the rest of the file
                     being written
    missing_file     the file has gone since it was listed                    the whole file
    unreadable_file  the file may not be read (any more)                      the whole file

Rejects of files have no row number: the file is lost (docs/input.md), whatever was read of it.
"""

from beam_bert.slices.plan import FileEntry
from beam_bert.sources.cutting import cut_unit
from beam_bert.sources.listing import list_files
from beam_bert.sources.reading import read_slice
from beam_bert.sources.resolving import inspect_source
from beam_bert.sources.spec import SourceSpec

__all__ = ["FileEntry", "SourceSpec", "cut_unit", "inspect_source", "list_files", "read_slice"]

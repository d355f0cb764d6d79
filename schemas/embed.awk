# SPDX-License-Identifier: MIT
#
# Turns migrations (NNN_name.sql, in order) into build/gen/migrations.c, so that no program needs a path to them
# at run time.  Versions must be 1, 2, 3...: a gap is a mistake of the tree.

function fail(text) {
    print text > "/dev/stderr"
    failed = 1
    exit 1
}

BEGIN {
    print "// Generated from schemas/sql by schemas/embed.awk."
    print "#include \"lib/migrations.h\"\n"
    print "const tally_migration_t tally_migrations[] = {"
}

FNR == 1 {
    if (count > 0) {
        print ",\n    },"
    }
    file = FILENAME
    sub(/.*\//, "", file)
    if (file !~ /^[0-9][0-9][0-9]_[a-z0-9_]+\.sql$/) {
        fail(FILENAME ": a migration is called NNN_name.sql")
    }
    if (substr(file, 1, 3) + 0 != ++count) {
        fail(FILENAME ": expected number " count)
    }
    printf "    {\n        .version = %d,\n        .name = \"%s\",\n        .sql =", count, substr(file, 5, length(file) - 8)
}

{
    gsub(/\\/, "\\\\")
    gsub(/"/, "\\\"")
    gsub(/\t/, "\\t")
    printf "\n            \"%s\\n\"", $0
}

END {
    if (failed) {
        exit 1
    }
    print(count > 0 ? ",\n    },\n};" : "};")
    printf "const size_t tally_migration_count = %d;\n", count
}

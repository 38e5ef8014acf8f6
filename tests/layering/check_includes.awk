# awk -f check_includes.awk ARROWS VENDORS FILE...    (run in src/, FILE relative to it)
# Prints each #include that breaks the layering as "file:line: why", and exits 1 if there was one.
# ARROWS: lines "room: rooms it may include", or "room: *". VENDORS: see vendors.txt.

# The room of a path: the longest row of ARROWS that begins it.
function room_of(path,    part)
{
    part = path
    while (sub(/\/[^\/]*$/, "", part))
        if (part in uses)
            return part
    return ""
}

function report(why)
{
    print FILENAME ":" FNR ": " why
    bad = 1
}

function check_ours(name,    home, target)
{
    home = room_of(FILENAME)
    target = room_of(name)
    if (home == "")
        report("this folder is no room: give it a vt_room line in src/CMakeLists.txt")
    else if (target == "")
        report("\"" name "\": expected \"room/file.h\" with a room of src/CMakeLists.txt")
    else if (target != home && uses[home] != " * " && index(uses[home], " " target " ") == 0)
        report(home " may not include " target " (\"" name "\"); its arrows:" uses[home])
}

# Returns 1 when the name is in the vendor table.
function check_vendor(name,    i, n, homes, h, allowed)
{
    for (i = 1; i <= vendor_count; i++) {
        if (name !~ ("^(" vendor[i] ")$"))
            continue
        if (vendor_home[i] == "-")
            return 1
        n = split(vendor_home[i], homes, " ")
        allowed = 0
        for (h = 1; h <= n; h++)
            if (index(FILENAME, homes[h]) == 1)
                allowed = 1
        if (!allowed)
            report("<" name "> has its home in " vendor_home[i])
        else if (FILENAME ~ /\.h$/)
            report("<" name "> in a header: vendor headers stay in .c files")
        return 1
    }
    return 0
}

FNR == 1 { file_number++ }
file_number == 1 {
    colon = index($0, ":")
    room = substr($0, 1, colon - 1)
    uses[room] = " " substr($0, colon + 2) " "
    next
}
file_number == 2 {
    if ($0 ~ /^#/ || NF < 2)
        next
    vendor[++vendor_count] = $1
    $1 = ""
    sub(/^ /, "")
    vendor_home[vendor_count] = $0
    next
}
/^[ \t]*#[ \t]*include[ \t]/ {
    checked++
    line = $0
    sub(/^[ \t]*#[ \t]*include[ \t]*/, "", line)
    mark = substr(line, 1, 1)
    if (mark != "<" && mark != "\"") {
        report("an #include that is not \"name\" or <name>")
        next
    }
    name = substr(line, 2)
    sub(/[>"].*$/, "", name)
    if (check_vendor(name))
        next
    if (mark == "<")
        report("<" name "> is in no row of tests/layering/vendors.txt")
    else
        check_ours(name)
}
END {
    if (!checked) {
        print "no #include was checked"
        bad = 1
    }
    exit bad
}

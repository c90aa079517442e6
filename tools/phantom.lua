-- Phantom Transport, wire version 2, for Wireshark and tshark (4.0 and later):
--
--   tshark -X lua_script:tools/phantom.lua -r FILE -Y phantom
--
-- Datagrams to or from the UDP ports of the preference are taken for Phantom; others when they look like it (version,
-- flags that exist, lengths that fit). Payloads stay sealed: there are no keys here.
local phantom = Proto("phantom", "Phantom Transport")

local VERSION, HEADER, LENGTH, TAG = 2, 45, 4, 16
local FLAGS = { "Reliable", "Ack", "Fin", "Unreliable", "Priority", "Encrypted", "Compressed", "Control", "Rekey",
  "Path Validation", "Coalesced", "Window Update" }
local KNOWN = 2 ^ #FLAGS

local f = phantom.fields
f.version = ProtoField.uint8("phantom.version", "Version")
f.session = ProtoField.bytes("phantom.session", "Session")
f.stream = ProtoField.uint16("phantom.stream", "Stream")
f.sequence = ProtoField.uint32("phantom.sequence", "Sequence")
f.flags = ProtoField.uint16("phantom.flags", "Flags", base.HEX)
for bit, name in ipairs(FLAGS) do
  local id = name:lower():gsub(" ", "_")
  f[id] = ProtoField.bool("phantom.flags." .. id, name, 16, nil, 2 ^ (bit - 1))
end
f.ack_delay = ProtoField.uint16("phantom.ack_delay", "Acknowledgement delay (us)")
f.epoch = ProtoField.uint8("phantom.epoch", "Epoch")
f.path = ProtoField.uint8("phantom.path", "Path")
f.payload_length = ProtoField.uint32("phantom.payload_length", "Payload length")
f.ciphertext = ProtoField.bytes("phantom.ciphertext", "Ciphertext")
f.tag = ProtoField.bytes("phantom.tag", "Tag")
f.payload = ProtoField.bytes("phantom.payload", "Payload")
f.extension_length = ProtoField.uint32("phantom.extension_length", "Extension length")
f.extensions = ProtoField.bytes("phantom.extensions", "Extensions")
f.trailing = ProtoField.bytes("phantom.trailing", "Trailing bytes")

local too_short = ProtoExpert.new("phantom.short", "Shorter than a packet", expert.group.MALFORMED, expert.severity.ERROR)
local bad_payload = ProtoExpert.new("phantom.payload_length.bad", "Payload length beyond the datagram",
  expert.group.MALFORMED, expert.severity.ERROR)
local bad_extension = ProtoExpert.new("phantom.extension_length.bad", "Extension length beyond the datagram",
  expert.group.MALFORMED, expert.severity.ERROR)
local no_tag = ProtoExpert.new("phantom.tag.missing", "Sealed payload shorter than its tag", expert.group.MALFORMED,
  expert.severity.ERROR)
phantom.experts = { too_short, bad_payload, bad_extension, no_tag }

phantom.prefs.ports = Pref.range("UDP ports", "4500", "Datagrams of these ports are Phantom", 65535)

local function flag_names(flags)
  local names = {}
  for bit, name in ipairs(FLAGS) do
    if math.floor(flags / 2 ^ (bit - 1)) % 2 == 1 then names[#names + 1] = name:upper():gsub(" ", "_") end
  end
  return #names == 0 and "none" or table.concat(names, "|")
end

local function header(buffer, tree)
  tree:add(f.version, buffer(0, 1))
  tree:add(f.session, buffer(1, 32))
  tree:add(f.stream, buffer(33, 2))
  tree:add(f.sequence, buffer(35, 4))
  local flags = tree:add(f.flags, buffer(39, 2))
  for _, name in ipairs(FLAGS) do flags:add(f[name:lower():gsub(" ", "_")], buffer(39, 2)) end
  tree:add(f.ack_delay, buffer(41, 2))
  tree:add(f.epoch, buffer(43, 1))
  tree:add(f.path, buffer(44, 1))
end

local function payload(buffer, tree, size, sealed)
  if size == 0 then return end
  if not sealed then
    tree:add(f.payload, buffer(HEADER + LENGTH, size))
  elseif size < TAG then
    tree:add_proto_expert_info(no_tag)
  else
    if size > TAG then tree:add(f.ciphertext, buffer(HEADER + LENGTH, size - TAG)) end
    tree:add(f.tag, buffer(HEADER + LENGTH + size - TAG, TAG))
  end
end

local function body(buffer, tree, flags)
  local room = buffer:len() - HEADER - 2 * LENGTH
  local size = buffer(HEADER, LENGTH):uint()
  tree:add(f.payload_length, buffer(HEADER, LENGTH))
  if size > room then return tree:add_proto_expert_info(bad_payload) end
  local sealed = math.floor(flags / 0x20) % 2 == 1
  payload(buffer, tree, size, sealed)
  if size == 0 and sealed then tree:add_proto_expert_info(no_tag) end
  local at = HEADER + LENGTH + size
  local extension = buffer(at, LENGTH):uint()
  tree:add(f.extension_length, buffer(at, LENGTH))
  if extension > room - size then return tree:add_proto_expert_info(bad_extension) end
  if extension > 0 then tree:add(f.extensions, buffer(at + LENGTH, extension)) end
  local rest = room - size - extension
  if rest > 0 then tree:add(f.trailing, buffer(at + LENGTH + extension, rest)) end
end

function phantom.dissector(buffer, pinfo, root)
  if buffer:len() == 0 or buffer(0, 1):uint() ~= VERSION then return 0 end
  pinfo.cols.protocol = "Phantom"
  local tree = root:add(phantom, buffer())
  if buffer:len() < HEADER + 2 * LENGTH then
    tree:add_proto_expert_info(too_short)
    pinfo.cols.info = "Phantom, too short"
    return buffer:len()
  end
  local flags = buffer(39, 2):uint()
  header(buffer, tree)
  body(buffer, tree, flags)
  pinfo.cols.info = string.format("session %s stream %d sequence %d epoch %d path %d %s", tostring(buffer(1, 4):bytes()):lower(),
    buffer(33, 2):uint(), buffer(35, 4):uint(), buffer(43, 1):uint(), buffer(44, 1):uint(), flag_names(flags))
  return buffer:len()
end

local function looks_like_it(buffer)
  return buffer:len() >= HEADER + 2 * LENGTH and buffer(0, 1):uint() == VERSION and buffer(39, 2):uint() < KNOWN
end

phantom:register_heuristic("udp", function(buffer, pinfo, root)
  if not looks_like_it(buffer) then return false end
  phantom.dissector(buffer, pinfo, root)
  return true
end)

local ports = DissectorTable.get("udp.port")
ports:add(phantom.prefs.ports, phantom)
function phantom.prefs_changed()
  ports:remove_all(phantom)
  ports:add(phantom.prefs.ports, phantom)
end

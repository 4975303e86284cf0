// SPDX-License-Identifier: Apache-2.0
// DuckDB's side of bridge.h: a file system of one scheme whose reads are asked for by the C side.
#include "duckdb.hpp"

#include "duckdb/common/virtual_file_system.hpp"
#include "duckdb/main/capi/capi_internal.hpp"

#include "engine/bridge.h"

namespace
{

using duckdb::FileHandle;
using duckdb::FileOpener;
using duckdb::FileOpenFlags;
using duckdb::FileSystem;
using duckdb::idx_t;
using duckdb::string;

bool ParsePath(const string &path, uint64_t &source, uint32_t &file)
{
    return bridge_parse_path(path.data(), path.size(), &source, &file);
}

class SnapshotFile : public FileHandle
{
  public:
    SnapshotFile(FileSystem &fs, const string &path_p, FileOpenFlags flags_p, uint64_t source_p,
                 uint32_t file_p, uint64_t size_p)
        : FileHandle(fs, path_p, flags_p), source(source_p), file(file_p), size(size_p)
    {
    }
    void Close() override
    {
    }
    const uint64_t source;
    const uint32_t file;
    const uint64_t size;
    idx_t at = 0;
};

class SnapshotFiles : public FileSystem
{
  public:
    duckdb::unique_ptr<FileHandle> OpenFile(const string &path, FileOpenFlags flags,
                                            duckdb::optional_ptr<FileOpener>) override
    {
        uint64_t source = 0, size = 0;
        uint32_t file = 0;
        if (flags.OpenForWriting() || !ParsePath(path, source, file) ||
            !bridge_file_size(source, file, &size))
            throw duckdb::IOException("no such snapshot file");
        return duckdb::make_uniq<SnapshotFile>(*this, path, flags, source, file, size);
    }
    void Read(FileHandle &handle, void *buffer, int64_t n, idx_t location) override
    {
        auto &f = static_cast<SnapshotFile &>(handle);
        auto bytes = static_cast<uint64_t>(n);
        if (n < 0 || location > f.size || bytes > f.size - location ||
            !bridge_read(f.source, f.file, location, buffer, static_cast<size_t>(n)))
            throw duckdb::IOException("a snapshot file cannot be read");
    }
    int64_t Read(FileHandle &handle, void *buffer, int64_t n) override
    {
        auto &f = static_cast<SnapshotFile &>(handle);
        auto left = static_cast<int64_t>(f.size - f.at);
        auto some = n < left ? n : left;
        Read(handle, buffer, some, f.at);
        f.at += static_cast<idx_t>(some);
        return some;
    }
    int64_t GetFileSize(FileHandle &handle) override
    {
        return static_cast<int64_t>(static_cast<SnapshotFile &>(handle).size);
    }
    // A source's number is never used twice and its files never change.
    duckdb::timestamp_t GetLastModifiedTime(FileHandle &) override
    {
        return duckdb::timestamp_t(0);
    }
    string GetVersionTag(FileHandle &) override
    {
        return "1";
    }
    duckdb::FileType GetFileType(FileHandle &) override
    {
        return duckdb::FileType::FILE_TYPE_REGULAR;
    }
    duckdb::vector<duckdb::OpenFileInfo> Glob(const string &path, FileOpener *) override
    {
        return {duckdb::OpenFileInfo(path)};
    }
    bool FileExists(const string &path, duckdb::optional_ptr<FileOpener>) override
    {
        uint64_t source = 0, size = 0;
        uint32_t file = 0;
        return ParsePath(path, source, file) && bridge_file_size(source, file, &size);
    }
    void Seek(FileHandle &handle, idx_t location) override
    {
        auto &f = static_cast<SnapshotFile &>(handle);
        if (location > f.size)
            throw duckdb::IOException("a snapshot file has no such place");
        f.at = location;
    }
    void Reset(FileHandle &handle) override
    {
        static_cast<SnapshotFile &>(handle).at = 0;
    }
    idx_t SeekPosition(FileHandle &handle) override
    {
        return static_cast<SnapshotFile &>(handle).at;
    }
    bool CanHandleFile(const string &path) override
    {
        return path.rfind(BRIDGE_SCHEME, 0) == 0;
    }
    bool CanSeek() override
    {
        return true;
    }
    bool OnDiskFile(FileHandle &) override
    {
        return false; // a read costs a message, far away even a request: few and large ones
    }
    string GetName() const override
    {
        return "OffloaderSnapshotFiles";
    }
};

} // namespace

bool bridge_register(duckdb_database database)
{
    try {
        auto *wrapper = reinterpret_cast<duckdb::DatabaseWrapper *>(database);
        wrapper->database->instance->GetFileSystem().RegisterSubSystem(
            duckdb::make_uniq<SnapshotFiles>());
        return true;
    } catch (...) {
        return false;
    }
}

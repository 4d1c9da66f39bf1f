//! Every kind of data set, whole and damaged.

use super::*;
use std::io::{Cursor, Write};

fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(elements);
    bytes
}

fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = npyz::npz::NpzWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.zip_writer().start_file(format!("{name}.npy"), Default::default()).unwrap();
        writer.zip_writer().write_all(bytes).unwrap();
    }
    writer.zip_writer().finish().unwrap().into_inner()
}

fn small_npz() -> Vec<u8> {
    npz(&[("x", npy("|u1", "(3, 2, 2)", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255])), ("y", npy("<i8", "(3,)", &labels_i64(&[2, 0, 1])))])
}

fn labels_i64(labels: &[i64]) -> Vec<u8> {
    labels.iter().flat_map(|l| l.to_le_bytes()).collect()
}

/// Writes files into a fresh folder and opens `open` there.
fn with_files<R>(files: &[(&str, &[u8])], open: &str, check: impl FnOnce(Result<Dataset, DataError>) -> R) -> R {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    check(Dataset::open(&folder.path().join(open)))
}

fn raw() -> Preprocessing {
    Preprocessing { scale: 1.0, ..Preprocessing::default() }
}

/// The whole message a user sees.
fn message(error: DataError) -> String {
    format!("{error}; {}", error.help().unwrap_or_default())
}

#[test]
fn an_npz_gives_its_samples_and_labels_in_order() {
    with_files(&[("d.npz", &small_npz())], "d.npz", |d| {
        let d = d.unwrap();
        assert_eq!((d.len(), d.labels()), (3, Some(&[2, 0, 1][..])));
        assert_eq!(d.input(1, &raw(), &[1, 2, 2]).unwrap(), [4.0, 5.0, 6.0, 7.0]);
        let rest = d.slice(1, Some(1));
        assert_eq!((rest.len(), rest.labels()), (1, Some(&[0][..])));
        assert_eq!(rest.input(0, &raw(), &[4]).unwrap(), [4.0, 5.0, 6.0, 7.0]);
    });
}

#[test]
fn float_samples_are_used_as_they_are() {
    let x: Vec<u8> = [0.5f32, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    with_files(&[("x.npy", &npy("<f4", "(1, 2, 1)", &x))], "x.npy", |d| {
        let d = d.unwrap();
        assert_eq!(d.input(0, &Preprocessing::default(), &[1, 2, 1]).unwrap(), [0.5, -1.0]);
        let misfit = message(d.input(0, &raw(), &[3, 2, 1]).unwrap_err());
        assert!(misfit.contains("takes 3x2x1") && misfit.contains("samples of 2x1"), "{misfit}");
    });
}

#[test]
fn an_npz_with_other_names_lists_them() {
    let bytes = npz(&[("images", npy("|u1", "(1, 1)", &[1])), ("targets", npy("|u1", "(1,)", &[1]))]);
    let error = with_files(&[("d.npz", &bytes)], "d.npz", |d| message(d.unwrap_err()));
    assert!(error.contains("images, targets") && error.contains("np.savez"), "{error}");
}

#[test]
fn labels_are_class_indices_or_numbers_and_as_many_as_samples() {
    let with = |y: Vec<u8>, check: &dyn Fn(Result<Dataset, DataError>)| {
        let x = ("x", npy("|u1", "(2, 1)", &[1, 2]));
        with_files(&[("d.npz", &npz(&[x, ("y", y)]))], "d.npz", |d| check(d));
    };
    with(npy("<i8", "(1,)", &labels_i64(&[1])), &|d| assert!(d.is_err()));
    with(npy("<i8", "()", &labels_i64(&[1])), &|d| assert!(d.is_err()));
    let values = |shape: &[usize], data: &[f32]| Some(Labels::Values { shape: shape.into(), data: data.into() });
    with(npy("<i8", "(2,)", &labels_i64(&[1, -1])), &|d| assert_eq!(d.unwrap().all_labels(), values(&[], &[1.0, -1.0])));
    let numbers: Vec<u8> = [0.5f64, 1.5, 2.5, 3.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    with(npy("<f8", "(2, 2)", &numbers), &|d| {
        let d = d.unwrap();
        assert_eq!((d.labels(), d.all_labels()), (None, values(&[2], &[0.5, 1.5, 2.5, 3.5])));
        assert_eq!(d.slice(1, None).all_labels(), values(&[2], &[2.5, 3.5]));
    });
}

#[test]
fn several_inputs_are_fed_by_name_whatever_the_order_in_the_archive() {
    let pixels = |shape: &str, bytes: &[u8]| npy("|u1", shape, bytes);
    let members =
        [("a", pixels("(2, 2)", &[1, 2, 3, 4])), ("z", pixels("(2, 1)", &[7, 8])), ("y", npy("<i8", "(2,)", &labels_i64(&[1, 0])))];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.npz");
    std::fs::write(&path, npz(&members)).unwrap();
    let feed = Feed::open(&path, &["z", "a"]).unwrap();
    assert_eq!(feed.inputs(1, &raw(), &[&[1], &[2]]).unwrap(), [vec![8.0], vec![3.0, 4.0]]);
    assert_eq!(feed.labels(), Some(Labels::Classes(vec![1, 0])));
    let error = message(Feed::open(&path, &["z", "b"]).unwrap_err());
    assert!(error.contains("no member `b`") && error.contains("np.savez"), "{error}");
    std::fs::write(&path, npz(&[("a", pixels("(2, 2)", &[1, 2, 3, 4])), ("z", pixels("(1, 1)", &[7]))])).unwrap();
    assert!(message(Feed::open(&path, &["z", "a"]).unwrap_err()).contains("1 of `z`, 2 of `a`"));
}

#[test]
fn a_truncated_or_bit_flipped_npz_is_refused_or_read_but_never_panics() {
    let whole = small_npz();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.npz");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(Dataset::open(&path).is_err(), "the first {length} of {} bytes", whole.len());
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &flipped).unwrap();
        let _ = Dataset::open(&path);
    }
}

#[test]
fn an_archive_that_claims_endless_members_is_refused() {
    // A 64-bit directory record with 2^40 members, its locator, and the classic end record that defers to them.
    let mut bytes = b"PK\x05\x06".to_vec();
    bytes.resize(64, 0);
    let record = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend([44u64.to_le_bytes(), [0; 8]].concat());
    bytes.extend([0; 4]);
    bytes.extend([(1u64 << 40).to_le_bytes(), (1u64 << 40).to_le_bytes(), [0; 8], [0; 8]].concat());
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(record.to_le_bytes());
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([0xff; 12]);
    bytes.extend([0; 2]);
    let error = with_files(&[("d.npz", &bytes)], "d.npz", |d| message(d.unwrap_err()));
    assert!(error.contains("implausible"), "{error}");
}

fn idx(rank: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, rank];
    bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn mnist_files_are_read_alone_and_by_folder() {
    let (images, labels) = (idx(3, &[2, 1, 2], &[1, 2, 3, 4]), idx(1, &[2], &[7, 9]));
    let files = [("t10k-images-idx3-ubyte", &images[..]), ("t10k-labels-idx1-ubyte", &labels[..])];
    for open in [".", "t10k-images-idx3-ubyte"] {
        with_files(&files, open, |d| {
            let d = d.unwrap();
            assert_eq!(d.labels(), Some(&[7, 9][..]));
            assert_eq!(d.input(1, &raw(), &[1, 1, 2]).unwrap(), [3.0, 4.0]);
        });
    }
    let gz = with_files(&[("t10k-images-idx3-ubyte.gz", &[0x1f, 0x8b, 8])], "t10k-images-idx3-ubyte.gz", |d| message(d.unwrap_err()));
    assert!(gz.contains("gunzip it first"), "{gz}");
    for bad in [&images[..15], &images[..10], &idx(3, &[u32::MAX, u32::MAX, u32::MAX], &[0; 4])] {
        assert!(with_files(&[("i-idx3-ubyte", bad)], "i-idx3-ubyte", |d| d.is_err()));
    }
}

#[test]
fn cifar_records_of_both_kinds_are_read() {
    let record = |labels: &[u8], red: u8| [labels, &[red; 1024], &[0; 2048]].concat();
    let ten = [record(&[3], 1), record(&[9], 2)].concat();
    with_files(&[("data_batch_1.bin", &ten), ("data_batch_2.bin", &record(&[4], 3))], ".", |d| {
        let d = d.unwrap();
        assert_eq!(d.labels(), Some(&[3, 9, 4][..]));
        let input = d.input(2, &raw(), &[3, 32, 32]).unwrap();
        assert_eq!((input[0], input[1023], input[1024]), (3.0, 3.0, 0.0));
    });
    with_files(&[("test.bin", &record(&[19, 99], 1))], "test.bin", |d| assert_eq!(d.unwrap().labels(), Some(&[99][..])));
    assert!(with_files(&[("test.bin", &ten[..4000])], "test.bin", |d| d.is_err()));
    assert!(with_files(&[("test.bin", &record(&[10], 0))], "test.bin", |d| d.is_err()));
    let mixed = with_files(&[("data_batch_1.bin", &ten), ("test_batch.bin", &ten)], ".", |d| message(d.unwrap_err()));
    assert!(mixed.contains("training and test"), "{mixed}");
}

fn png(color: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(2, 1, image::Rgb(color)).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn class_folders_take_turns_and_numbers_are_classes() {
    let (a, b, c) = (png([10, 0, 0]), png([20, 0, 0]), png([30, 0, 0]));
    let files = [("3/a.png", &a[..]), ("3/b.png", &b[..]), ("11/c.png", &c[..]), ("11/notes.txt", b"no image")];
    with_files(&files, ".", |d| {
        let d = d.unwrap();
        assert_eq!(d.labels(), Some(&[3, 11, 3][..]));
        let reds: Vec<f32> = (0..3).map(|i| d.input(i, &raw(), &[3, 1, 2]).unwrap()[0]).collect();
        assert_eq!(reds, [10.0, 30.0, 20.0]);
    });
    with_files(&[("cat/a.png", &a), ("ant/b.png", &b)], ".", |d| assert_eq!(d.unwrap().labels(), Some(&[0, 1][..])));
}

#[test]
fn image_files_suit_grey_and_colour_networks() {
    with_files(&[("p.ppm", b"P6 1 1 255 \x80\x80\x80")], "p.ppm", |d| {
        let d = d.unwrap();
        assert_eq!(d.input(0, &raw(), &[1, 1, 1]).unwrap(), [128.0]);
        assert_eq!(d.input(0, &raw(), &[3, 1, 1]).unwrap(), [128.0; 3]);
        assert_eq!(d.labels(), None);
    });
}

#[test]
fn damaged_and_unbelievable_images_are_refused() {
    let whole = png([1, 2, 3]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i.png");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        if let Ok(d) = Dataset::open(&path) {
            let _ = d.input(0, &raw(), &[3, 1, 2]);
        }
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &flipped).unwrap();
        if let Ok(d) = Dataset::open(&path) {
            let _ = d.input(0, &raw(), &[3, 1, 2]);
        }
    }
    let error = with_files(&[("i.ppm", b"P6 60000 60000 255 \0\0\0")], "i.ppm", |d| d.unwrap().input(0, &raw(), &[3, 1, 1]).unwrap_err());
    assert!(message(error).contains("not believable"));
}

#[test]
fn unknown_files_and_folders_are_refused_with_the_list_of_known_kinds() {
    for (files, open) in [(&[("a.txt", &b"hello"[..])], "a.txt"), (&[("a.txt", &b"hello"[..])], ".")] {
        let error = with_files(files, open, |d| message(d.unwrap_err()));
        assert!(error.contains("MNIST idx"), "{error}");
    }
    assert!(matches!(Dataset::open(Path::new("/no/such/file")), Err(DataError::Read { .. })));
}

/// An archive whose samples are too big to be kept in memory.
fn big_npz(method: npyz::zip::CompressionMethod) -> (Vec<u8>, usize) {
    let (count, size) = (2500, 64 * 64);
    let x: Vec<u8> = (0..count * size).map(|i| (i / size * 31 + i % size * 7) as u8).collect();
    let mut writer = npyz::npz::NpzWriter::new(Cursor::new(Vec::new()));
    let options = npyz::zip::write::FileOptions::default().compression_method(method);
    writer.zip_writer().start_file("x.npy", options).unwrap();
    writer.zip_writer().write_all(&npy("|u1", &format!("({count}, 64, 64)"), &x)).unwrap();
    (writer.zip_writer().finish().unwrap().into_inner(), count)
}

#[test]
fn samples_of_a_big_archive_are_read_from_it_one_by_one_in_any_order() {
    for method in [npyz::zip::CompressionMethod::Stored, npyz::zip::CompressionMethod::Deflated] {
        let (bytes, count) = big_npz(method);
        with_files(&[("d.npz", &bytes)], "d.npz", |d| {
            let d = d.unwrap();
            assert_eq!(d.len(), count);
            for index in [0, 5, 4, 700, 699, 3, count - 1] {
                let input = d.input(index, &raw(), &[1, 64, 64]).unwrap();
                assert_eq!(&input[..2], &[(index * 31) as u8 as f32, (index * 31 + 7) as u8 as f32], "{method} {index}");
            }
            let all = Feed::from(d.slice(10, Some(300))).all(&raw(), &[&[1, 64, 64]], || ()).unwrap();
            assert_eq!((all.len(), all[299][0][0]), (300, (309 * 31) as u8 as f32));
        });
    }
}

#[test]
fn a_big_archive_that_is_damaged_far_inside_is_an_error_and_no_wrong_sample() {
    let (mut bytes, count) = big_npz(npyz::zip::CompressionMethod::Deflated);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    with_files(&[("d.npz", &bytes)], "d.npz", |d| {
        let d = d.unwrap();
        assert!((0..count).any(|index| d.sample(index, 1).is_err()));
    });
}

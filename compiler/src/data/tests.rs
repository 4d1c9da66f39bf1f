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
    npz_by(zip::CompressionMethod::Deflated, members)
}

fn npz_by(method: zip::CompressionMethod, members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        writer.start_file(format!("{name}.npy"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
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
        with_files(&[("d.npz", &npz(&[x, ("y", y)]))], "d.npz", check);
    };
    for (shape, labels) in [("(1,)", &[1][..]), ("()", &[1]), ("(0,)", &[])] {
        with(npy("<i8", shape, &labels_i64(labels)), &|d| {
            let error = message(d.unwrap_err());
            assert!(error.contains("2 samples") && error.contains("equally many"), "{error}");
        });
    }
    let floats = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    for y in [npy("<f8", "(2,)", &floats(&[3.0, 0.0])), npy(">i2", "(2, 1)", &[0, 3, 0, 0])] {
        with(y, &|d| assert_eq!(d.unwrap().labels(), Some(&[3, 0][..])));
    }
    let values = |shape: &[usize], data: &[f32]| Some(Labels::Values { shape: shape.into(), data: data.into() });
    with(npy("<i8", "(2,)", &labels_i64(&[1, -1])), &|d| assert_eq!(d.unwrap().all_labels(), values(&[], &[1.0, -1.0])));
    with(npy("|u1", "(2, 3)", &[0, 1, 0, 1, 0, 0]), &|d| {
        assert_eq!(d.unwrap().all_labels(), values(&[3], &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]));
    });
    with(npy("<f8", "(2, 2)", &floats(&[0.5, 1.5, 2.5, 3.5])), &|d| {
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
fn what_an_archive_promises_is_compared_with_what_is_wanted_before_it_is_unpacked() {
    // 40 MB that deflate makes 40 kB of: one sample, and labels that are far too many.
    let long = vec![0; 40 << 20];
    let sample = npz(&[("x", npy("|u1", &format!("(1, {})", long.len()), &long))]);
    with_files(&[("d.npz", &sample)], "d.npz", |d| {
        let error = message(d.unwrap().input(0, &raw(), &[1, 28, 28]).unwrap_err());
        assert!(error.contains("takes 1x28x28") && error.contains("41943040"), "{error}");
    });
    let labels = npz(&[("x", npy("|u1", "(2, 1)", &[1, 2])), ("y", npy("|u1", &format!("({},)", long.len()), &long))]);
    let error = with_files(&[("d.npz", &labels)], "d.npz", |d| message(d.unwrap_err()));
    assert!(error.contains("2 samples") && error.contains("41943040"), "{error}");
    // Labels of several numbers for each sample may be many, but not any number: who does not want them can use the samples.
    let each = vec![0; 150 << 20];
    let labels = npz(&[("x", npy("|u1", "(2, 1)", &[1, 2])), ("y", npy("|u1", &format!("(2, {})", each.len()), &each.repeat(2)))]);
    with_files(&[("d.npz", &labels)], "d.npz", |d| {
        let d = d.unwrap();
        assert_eq!((d.len(), d.labels()), (2, None));
        assert!(matches!(d.all_labels(), Some(Labels::Unread(why)) if why.contains("uint8 of shape [2x157286400]")));
    });
}

#[test]
fn numbers_of_every_type_order_and_layout_are_samples() {
    let shape = [1, 2, 2];
    let of = |descr: &str, shape: &str, elements: &[u8]| npy(descr, shape, elements);
    let fortran = |mut bytes: Vec<u8>| {
        let at = bytes.windows(5).position(|w| w == b"False").unwrap();
        bytes[at..at + 5].copy_from_slice(b"True ");
        bytes
    };
    let halves: Vec<u8> =
        [0x3c00u16, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700, 0x4800].iter().flat_map(|v| v.to_be_bytes()).collect();
    let cases = [
        of("|i1", "(2, 2, 2)", &[1, 2, 3, 4, 5, 6, 7, 8]),
        of("<i8", "(2, 1, 2, 2)", &labels_i64(&[1, 2, 3, 4, 5, 6, 7, 8])),
        of(">f2", "(2, 2, 2)", &halves),
        // The second index of a flat sample varies slowest in Fortran order, the sample's number fastest.
        fortran(of("|i1", "(2, 4)", &[1, 5, 2, 6, 3, 7, 4, 8])),
        fortran(of("|u1", "(2, 2, 2)", &[1, 5, 3, 7, 2, 6, 4, 8])),
    ];
    for (case, bytes) in cases.iter().enumerate() {
        for name in ["x.npy", "x.npz"] {
            let file = if name == "x.npy" { bytes.clone() } else { npz(&[("x", bytes.clone())]) };
            with_files(&[(name, &file)], name, |d| {
                let d = d.unwrap();
                let got: Vec<Vec<f32>> = (0..2).map(|i| d.input(i, &raw(), &shape).unwrap()).collect();
                assert_eq!(got, [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], "case {case} as {name}");
                let note = d.note(&raw(), &shape).unwrap();
                assert_eq!(note.is_some_and(|n| n.contains("save pixels as uint8")), matches!(case, 0 | 1 | 3), "case {case}");
            });
        }
    }
    with_files(&[("x.npy", &npy("|b1", "(1, 2)", &[0, 1]))], "x.npy", |d| {
        assert_eq!(d.unwrap().input(0, &raw(), &[2]).unwrap(), [0.0, 1.0]);
    });
}

#[test]
fn a_vector_fits_an_input_of_as_many_elements_and_other_layouts_are_refused_with_the_way_out() {
    let values = |n: usize| (0..n).flat_map(|v| (v as f32).to_le_bytes()).collect::<Vec<u8>>();
    with_files(&[("x.npy", &npy("<f4", "(1, 12)", &values(12)))], "x.npy", |d| {
        let d = d.unwrap();
        assert_eq!(d.input(0, &raw(), &[3, 2, 2]).unwrap()[11], 11.0);
        assert!(d.input(0, &raw(), &[3, 2, 3]).is_err());
    });
    with_files(&[("x.npy", &npy("<f4", "(1, 2, 2, 3)", &values(12)))], "x.npy", |d| {
        let d = d.unwrap();
        assert_eq!(d.input(0, &raw(), &[12]).unwrap()[11], 11.0);
        let error = message(d.input(0, &raw(), &[3, 2, 2]).unwrap_err());
        assert!(error.contains("np.transpose(x, (0, 3, 1, 2))"), "{error}");
    });
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
    let (packed, packed_labels) = (gzip(&images), gzip(&labels));
    let files = [("t10k-images-idx3-ubyte.gz", &packed[..]), ("t10k-labels-idx1-ubyte.gz", &packed_labels[..])];
    for open in [".", "t10k-images-idx3-ubyte.gz"] {
        with_files(&files, open, |d| {
            let d = d.unwrap();
            assert_eq!((d.labels(), d.input(1, &raw(), &[1, 1, 2]).unwrap()), (Some(&[7, 9][..]), vec![3.0, 4.0]));
        });
    }
    // Both, as torchvision leaves them.
    let both = [("a-images-idx3-ubyte", &images[..]), ("a-images-idx3-ubyte.gz", &packed), ("a-labels-idx1-ubyte.gz", &packed_labels)];
    with_files(&both, ".", |d| assert_eq!(d.unwrap().labels(), Some(&[7, 9][..])));
    assert!(with_files(&[("a-images-idx3-ubyte.gz", &packed[..packed.len() - 9])], ".", |d| d.is_err()));
    let fewer = [("a-images-idx3-ubyte", &images[..]), ("a-labels-idx1-ubyte", &idx(1, &[1], &[7]))];
    assert!(with_files(&fewer, ".", |d| message(d.unwrap_err())).contains("equally many"));
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
fn images_of_all_common_formats_are_read() {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
    let picture = image::RgbImage::from_pixel(2, 1, image::Rgb([200, 200, 200]));
    for (format, name) in
        [(Bmp, "i.bmp"), (Gif, "i.gif"), (Jpeg, "i.jpg"), (Png, "i.png"), (Pnm, "i.ppm"), (Tiff, "i.tiff"), (WebP, "i.webp")]
    {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        let bytes = bytes.into_inner();
        for open in [name, "."] {
            with_files(&[(name, &bytes)], open, |d| {
                let input = d.unwrap().input(0, &raw(), &[1, 1, 2]).unwrap();
                assert!(input.iter().all(|v| (v - 200.0).abs() < 4.0), "{name}: {input:?}");
            });
        }
    }
}

#[test]
fn colours_meet_a_grey_network_alike_from_files_and_arrays_and_the_user_is_told() {
    let image = png([10, 200, 90]);
    let pixels: Vec<u8> = [10, 200, 90].repeat(2);
    let array = npy("|u1", "(1, 1, 2, 3)", &pixels);
    let grey = npy("|u1", "(1, 1, 2)", &[7, 9]);
    for (name, bytes) in [("i.png", &image), ("i.npy", &array)] {
        with_files(&[(name, bytes)], name, |d| {
            let d = d.unwrap();
            assert_eq!(d.input(0, &raw(), &[1, 1, 2]).unwrap(), [131.0, 131.0], "{name}");
            assert!(d.note(&raw(), &[1, 1, 2]).unwrap().unwrap().contains("brightness"));
            assert_eq!(d.note(&raw(), &[3, 1, 2]).unwrap(), None);
        });
    }
    with_files(&[("i.npy", &grey)], "i.npy", |d| {
        let d = d.unwrap();
        assert_eq!(d.input(0, &raw(), &[3, 1, 2]).unwrap(), [7.0, 9.0, 7.0, 9.0, 7.0, 9.0]);
        assert!(d.note(&raw(), &[3, 1, 2]).unwrap().unwrap().contains("all three channels"));
    });
    let four = npy("|u1", "(1, 1, 2, 4)", &[0; 8]);
    let error = with_files(&[("i.npy", &four)], "i.npy", |d| message(d.unwrap().input(0, &raw(), &[3, 1, 2]).unwrap_err()));
    assert!(error.contains("x[..., :3]"), "{error}");
}

/// A PNG whose header says more than its few bytes hold.
fn huge_png(side: u32) -> Vec<u8> {
    let mut bytes = png([0; 3]);
    bytes[16..20].copy_from_slice(&side.to_be_bytes());
    bytes[20..24].copy_from_slice(&side.to_be_bytes());
    let crc = crc32fast::hash(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn the_size_of_an_image_is_compared_before_it_is_decoded() {
    // Decoding would fail: there are far too few pixels.
    for (side, resize, why) in [(3000, None, "3000x3000"), (9000, Some([1, 2]), "67108864"), (20000, Some([1, 2]), "67108864")] {
        let error = with_files(&[("i.png", &huge_png(side))], "i.png", |d| {
            message(d.unwrap().input(0, &Preprocessing { resize, ..raw() }, &[3, 1, 2]).unwrap_err())
        });
        assert!(error.contains(why), "{error}");
    }
    // A colour profile of 64 MiB of zeros, in 64 kB.
    let mut profile = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
    profile.write_all(&vec![0; 64 << 20]).unwrap();
    let profile = [&b"iCCPx\0\0"[..], &profile.finish().unwrap()].concat();
    let whole = png([1, 2, 3]);
    let length = (profile.len() as u32 - 4).to_be_bytes();
    let bytes = [&whole[..33], &length, &profile, &crc32fast::hash(&profile).to_be_bytes(), &whole[33..]].concat();
    with_files(&[("i.png", &bytes)], "i.png", |d| match d.unwrap().input(0, &raw(), &[3, 1, 2]) {
        // Its profile is left out, or it is refused; which of the two is the decoder's choice.
        Ok(input) => assert_eq!(input, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
        Err(error) => assert!(message(error).contains("limit")),
    });
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
}

#[test]
fn unknown_files_and_folders_are_refused_with_the_list_of_known_kinds() {
    for (files, open) in [(&[("a.txt", &b"hello"[..])], "a.txt"), (&[("a.txt", &b"hello"[..])], ".")] {
        let error = with_files(files, open, |d| message(d.unwrap_err()));
        assert!(error.contains("MNIST idx"), "{error}");
    }
    assert!(matches!(Dataset::open(Path::new("/no/such/file")), Err(DataError::Read { .. })));
    let says = |files: &[(&str, &[u8])], open: &str| with_files(files, open, |d| message(d.unwrap_err()));
    assert!(says(&[("sub/a.txt", b"x")], ".").contains("no images in its folders"));
    assert!(says(&[("e/.hidden", b"x")], "e").contains("the folder is empty"));
    assert!(says(&[("e.npy", b"")], "e.npy").contains("it is empty"));
    for open in ["data_batch_1", "."] {
        let error = says(&[("data_batch_1", b"\x80\x02}q\x01(U\x0bbatch_labelq\x02"), ("readme.html", b"<html>")], open);
        assert!(error.contains("pickle") && error.contains("binary version") && error.contains("np.savez"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo.npy");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [&fifo, Path::new("/dev/zero")] {
        let DataError::Read { source, .. } = Dataset::open(path).unwrap_err() else { panic!("{} is no file", path.display()) };
        assert!(source.to_string().contains("pipe or a device"), "{source}");
    }
    std::fs::create_dir(folder.path().join("class")).unwrap();
    std::fs::rename(&fifo, folder.path().join("class/fifo.png")).unwrap();
    let images = Dataset::open(folder.path()).unwrap();
    assert!(images.input(0, &raw(), &[1, 1, 2]).is_err());
}

/// An archive whose samples are too big to be kept in memory.
fn big_npz(method: zip::CompressionMethod) -> (Vec<u8>, usize) {
    let (count, size) = (2500, 64 * 64);
    let x: Vec<u8> = (0..count * size).map(|i| (i / size * 31 + i % size * 7) as u8).collect();
    (npz_by(method, &[("x", npy("|u1", &format!("({count}, 64, 64)"), &x))]), count)
}

#[test]
fn samples_of_a_big_archive_are_read_from_it_one_by_one_in_any_order() {
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let (bytes, count) = big_npz(method);
        with_files(&[("d.npz", &bytes)], "d.npz", |d| {
            let d = d.unwrap();
            assert_eq!(d.len(), count);
            for index in [0, 5, 4, 700, 699, 3, count - 1] {
                let input = d.input(index, &raw(), &[1, 64, 64]).unwrap();
                assert_eq!(&input[..2], &[(index * 31) as u8 as f32, (index * 31 + 7) as u8 as f32], "{method} {index}");
            }
            let all = Feed::from(d.slice(10, Some(300))).all(&raw(), &[&[1, 64, 64]], || ()).unwrap();
            assert_eq!((all.len(), all.sample(299)[0][0]), (300, (309 * 31) as u8 as f32));
        });
    }
}

#[test]
fn a_big_archive_that_is_damaged_far_inside_is_an_error_and_no_wrong_sample() {
    let (mut bytes, count) = big_npz(zip::CompressionMethod::Deflated);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    with_files(&[("d.npz", &bytes)], "d.npz", |d| {
        let d = d.unwrap();
        assert!((0..count).any(|index| d.input(index, &raw(), &[1, 64, 64]).is_err()));
    });
}
